"""What a run shows, drawn from its directory: figures, the HTML page, TensorBoard and the terminal."""

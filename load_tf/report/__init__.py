"""What a run shows of itself: figures and TensorBoard, drawn from its journal."""

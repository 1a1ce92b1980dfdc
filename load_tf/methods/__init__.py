"""Training methods: LoAd, and what a sensible person would try instead. A method is one file."""

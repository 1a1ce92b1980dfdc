"""Segmentors: Keras models from RGB [B, H, W, 3] in [0, 255] to logits [B, h, w, K]."""

"""Training: Stage 1, the discriminator, the segmentor against it. One trainer each, its inner loop orbit's."""

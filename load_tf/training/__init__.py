"""How the networks are trained: stage 1, the discriminator, and the segmentor against it."""

"""The game of real networks that Algorithm 1 plays: segmentor, discriminator, buffer, and what is watched of them."""

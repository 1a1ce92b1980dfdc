"""The game that Algorithm 1 plays, with real networks: segmentor, discriminator, buffer, and what is watched."""

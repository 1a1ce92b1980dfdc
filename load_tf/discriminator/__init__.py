"""What the discriminator is, what it is shown, and the buffer of label maps it learns from."""

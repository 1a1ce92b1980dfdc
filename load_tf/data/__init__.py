"""Data sets: what one is, the ones that come with load_tf, and how images are read, checked and prepared."""

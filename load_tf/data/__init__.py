"""Data sets: what one is, where they come from, and how images reach a network."""

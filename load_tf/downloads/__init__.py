"""From a checkpoint's name to its files on disk: downloads that resume, digests, and archives that cannot harm."""

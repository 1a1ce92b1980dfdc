"""From a checkpoint's name to its files on disk: downloads that resume, checksums and safe unpacking."""

"""Training methods, one file each: LoAd and what it is compared with."""

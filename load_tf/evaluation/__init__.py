"""How label maps are scored: confusion matrices per image, mIoU, bootstrap intervals and Table 1."""

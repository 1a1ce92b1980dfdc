"""Evaluation: confusion matrices per image, mIoU, bootstrap intervals and Table 1."""

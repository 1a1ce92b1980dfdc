"""The paper's numbers, to stand beside ours."""

TABLE_1: dict[str, tuple[float, float]] = {
    "background": (95.55, 95.65),
    "aeroplane": (90.33, 92.92),
    "bicycle": (44.23, 43.86),
    "bird": (89.56, 90.31),
    "boat": (72.15, 77.73),
    "bottle": (81.11, 82.02),
    "bus": (96.76, 96.29),
    "car": (91.37, 90.18),
    "cat": (94.33, 94.20),
    "chair": (51.87, 51.73),
    "cow": (96.08, 95.55),
    "diningtable": (60.14, 64.28),
    "dog": (92.63, 92.14),
    "horse": (93.33, 93.30),
    "motorbike": (89.23, 88.63),
    "person": (90.18, 90.19),
    "pottedplant": (67.19, 67.65),
    "sheep": (93.75, 93.65),
    "sofa": (61.26, 64.93),
    "train": (94.81, 94.18),
    "tvmonitor": (80.27, 80.31),
    "mIoU": (82.20, 82.84),
}
"""Table 1 (PASCAL VOC 2012 val, 1,449 images): IoU in per cent of DeepLabv3+ and of DeepLabv3+ & LoAd."""

VOC_CLASS_NAMES = tuple(name for name in TABLE_1 if name != "mIoU")
"""The classes the table is about; the paper's columns are shown for these 21 only."""

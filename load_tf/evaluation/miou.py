"""Intersection over union from confusion matrices, as the official evaluation defines it.

One confusion matrix over the whole set (the sum of those of its images), void pixels ignored; the mean is over the
classes with a non-empty union, so a class that is neither there nor predicted counts for nothing.

That rule is for scores that are printed. Whatever compares two models, or decides, uses the classes that the truth has
(`mean_iou_of_truth`): these are the same for both. Under the official rule a few pixels of an absent class that one
model predicts and the other does not change the number of classes, and with it the mean by whole points.
"""

import numpy as np

from load_tf.data.dataset import IGNORE_LABEL


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the pixels of one image by true and predicted class.

    Args:
      label: [H, W] integers in {0..K-1, 255}; 255 is void and not counted.
      prediction: [H, W] integers in [0, K).
      num_classes: K.

    Returns:
      int64 [K, K]: rows are the truth, columns the prediction.

    Raises:
      ValueError: if the shapes differ or a value is out of range.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"label map of shape {label.shape} against prediction of shape {prediction.shape}.")
    counted = label != IGNORE_LABEL
    truth, predicted = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for name, values in (("label", truth), ("prediction", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"{name} values {values.min()} to {values.max()}; expected 0 to {num_classes - 1}.")
    flat = np.bincount(num_classes * truth + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of every class.

    IoU_k = C_kk / (sum_j C_kj + sum_j C_jk - C_kk)

    Args:
      confusion: [..., K, K], of one image or summed over many.

    Returns:
      float64 [..., K] in [0, 1]; NaN where the union is empty.
    """
    confusion = np.asarray(confusion)
    intersection = np.diagonal(confusion, axis1=-2, axis2=-1)
    return iou_of_counts(intersection, confusion.sum(-1), confusion.sum(-2))


def iou_of_counts(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """`iou` from pixel counts: correct, true and predicted ones of every class, all [..., K]."""
    union = np.asarray(truth + predicted - intersection, np.float64)
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)


def iou_of_truth(intersection: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """`iou_of_counts`, float64 [..., K], but NaN for every class that the truth lacks, predicted or not."""
    return np.where(np.asarray(truth) > 0, iou_of_counts(intersection, truth, predicted), np.nan)


def mean_over_present(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what isn't NaN; NaN if nothing is left."""
    present = ~np.isnan(values)
    count = present.sum(-1)
    total = np.where(present, values, 0.0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def mean_iou(confusion: np.ndarray) -> float:
    """mIoU, as a fraction, of a set of images or of one.

    Args:
      confusion: [K, K], or one per image [N, K, K], which are summed first.

    Returns:
      The mean IoU over the classes with a non-empty union; NaN if no pixel was counted at all.
    """
    confusion = np.asarray(confusion)
    if confusion.ndim == 3:
        confusion = confusion.sum(0)
    return float(mean_over_present(iou(confusion)))


def mean_iou_of_truth(confusion: np.ndarray) -> float:
    """mIoU over the classes that the truth has, as a fraction: what decides between models on the same images.

    It is `mean_iou` unless a class is predicted that no image has: that one counts for nothing here, and as 0 there.

    Args:
      confusion: [K, K], or one per image [N, K, K], which are summed first.

    Returns:
      The mean IoU over the classes with a pixel in the truth; NaN if no pixel was counted at all.
    """
    confusion = np.asarray(confusion)
    if confusion.ndim == 3:
        confusion = confusion.sum(0)
    return float(mean_over_present(iou_of_truth(np.diagonal(confusion), confusion.sum(1), confusion.sum(0))))

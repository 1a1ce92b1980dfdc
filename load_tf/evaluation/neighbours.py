"""Whether images that follow each other are alike: then an interval over images as independent ones is too narrow.

Frames of a video gain and lose together. The bootstrap of `load_tf.evaluation.bootstrap` takes images as independent;
if neighbours' shares in the gain are correlated, there are fewer independent images than it counts.
"""

import dataclasses
import math

import numpy as np

ALIKE = 0.2
"""Auto-correlation above which neighbours count as alike: an interval is then about a fifth too narrow, as the standard
error of a mean grows by sqrt((1 + r) / (1 - r)) where the correlation at distance d is r^d."""
STANDARD_ERRORS = 2.0
"""How far above 0 the auto-correlation has to be besides, in standard errors."""


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """How alike neighbouring images are.

    Attributes:
      lag1: auto-correlation of the images' influence on the gain at distance 1; None where there is none to compute,
        with fewer than three images or two models that are alike on all of them.
      images: how many images it is over.
    """

    lag1: float | None
    images: int

    @property
    def alike(self) -> bool:
        """Whether neighbours are alike: above `ALIKE`, and above `STANDARD_ERRORS` standard errors of 1 / sqrt(N)."""
        if self.lag1 is None:
            return False
        return self.lag1 > max(ALIKE, STANDARD_ERRORS / math.sqrt(self.images))

    def warning(self, grouped: bool) -> str | None:
        """Why an interval over single images is too narrow; None where it is not known to be.

        Args:
          grouped: whether the data set says which images belong together.
        """
        if grouped or not self.alike:
            return None
        return (
            f"neighbouring images' gains are alike (auto-correlation {self.lag1:.2f} at distance 1), so the interval "
            "over images as independent is too narrow; give groups (folder.groups, or groups=... in Python)"
        )


def neighbours(baseline: np.ndarray, other: np.ndarray) -> Neighbours:
    """How alike neighbours are in what they do to the gain of `other` over `baseline`.

    Args:
      baseline: int [N, K, K], confusion matrices per image, in an order in which neighbours follow each other.
      other: int [N, K, K], of the same images in the same order.

    Raises:
      ValueError: if the shapes differ or are not [N, K, K].
    """
    return Neighbours(auto_correlation(influences(baseline, other)), len(baseline))


def influences(baseline: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Every image's influence on the gain in mIoU: the derivative of the gain with respect to the image's weight.

    With weights w_i, the mIoU over the classes T of the truth is M = 1/|T| sum_k I_k / U_k, where I_k = sum_i w_i I_ik
    counts right pixels of class k and U_k = sum_i w_i U_ik those of its union. At w = 1,

      dM / dw_i = 1/|T| sum_k (I_ik - (I_k / U_k) U_ik) / U_k,

    and the influence is this of `other` less that of `baseline`. Influences sum to 0. To first order, without image i
    the gain would be smaller by its influence.

    Args:
      baseline: int [N, K, K], confusion matrices per image: rows are the truth, columns the prediction.
      other: int [N, K, K], of the same images in the same order.

    Returns:
      float64 [N], as a fraction of mIoU; all 0 if no pixel has a class.

    Raises:
      ValueError: if the shapes differ or are not [N, K, K].
    """
    if baseline.shape != other.shape or baseline.ndim != 3 or baseline.shape[1] != baseline.shape[2]:
        raise ValueError(f"confusion matrices of shape {baseline.shape} and {other.shape}; expected [N, K, K] twice.")
    return _derivative(other) - _derivative(baseline)


def _derivative(confusion: np.ndarray) -> np.ndarray:
    """float64 [N]: of mIoU over the classes of the truth."""
    right = np.diagonal(confusion, axis1=1, axis2=2).astype(np.float64)
    truth = confusion.sum(2)
    union = (truth + confusion.sum(1) - right).astype(np.float64)
    there = truth.sum(0) > 0
    if not there.any():
        return np.zeros(len(confusion))
    right, union = right[:, there], union[:, there]
    whole = union.sum(0)
    return np.mean((right - right.sum(0) / whole * union) / whole, axis=1)


def auto_correlation(values: np.ndarray) -> float | None:
    """Auto-correlation at distance 1: r = sum_i (x_i - m) (x_i+1 - m) / sum_i (x_i - m)^2, m the mean of x.

    Args:
      values: float [N].

    Returns:
      r in (-1, 1); None for fewer than three values, or where all are equal.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 3 or np.ptp(values) == 0:
        return None
    apart = values - values.mean()
    return float(apart[:-1] @ apart[1:] / (apart @ apart))

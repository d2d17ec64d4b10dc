"""Boundary IoU: how well class borders are met, where IoU itself sees little but the inside of large classes.

Of each class only the pixels within a distance of its contour count, in the truth and in the prediction.
Counts are integers, summed over a split, so that no cut into batches or replicas changes the score.

Reference: Cheng et al., "Boundary IoU: Improving object-centric image segmentation evaluation", CVPR 2021.
"""

from __future__ import annotations

from math import hypot

import numpy as np

from configs.taxonomy import IGNORE_ID

DILATION_RATIO = 0.02
"""The distance as a part of the image's diagonal."""


class BoundaryIoU:
    """Intersection and union of classes' boundaries, added up image by image; `result` is the IoU by class."""

    def __init__(self, classes: int, dilation_ratio: float = DILATION_RATIO) -> None:
        self._dilation_ratio = dilation_ratio
        self.intersection = np.zeros(classes, np.int64)
        self.union = np.zeros(classes, np.int64)

    def update(self, masks: np.ndarray, predicted: np.ndarray) -> None:
        """Count images: truth and prediction, uint8 (B, H, W) of class ids; 255 in the truth is not scored."""
        distance = boundary_distance(masks.shape[-2:], self._dilation_ratio)
        for mask, prediction in zip(masks, predicted, strict=True):
            self._count(mask, prediction, distance)

    def result(self) -> np.ndarray:
        """float64 (classes,): boundary IoU; NaN where a class is neither there nor predicted."""
        return np.divide(self.intersection, self.union, out=np.full(len(self.union), np.nan), where=self.union > 0)

    def _count(self, mask: np.ndarray, prediction: np.ndarray, distance: int) -> None:
        scored = mask != IGNORE_ID
        truth = mask[scored]
        predicted = prediction[scored]
        of_truth = boundary(mask, distance)[scored]
        of_prediction = boundary(np.where(scored, prediction, np.uint8(IGNORE_ID)), distance)[scored]
        both = self._pixels(truth[of_truth & of_prediction & (truth == predicted)])
        self.intersection += both
        self.union += self._pixels(truth[of_truth]) + self._pixels(predicted[of_prediction]) - both

    def _pixels(self, ids: np.ndarray) -> np.ndarray:
        return np.bincount(ids, minlength=len(self.union))


def boundary_distance(size: tuple[int, ...], dilation_ratio: float = DILATION_RATIO) -> int:
    """Pixels from the contour that belong to the boundary, at least 1."""
    return max(1, round(dilation_ratio * hypot(*size)))


def boundary(ids: np.ndarray, distance: int) -> np.ndarray:
    """bool (H, W): pixels from which another class, or the outside, is at most ``distance`` steps of a king away.

    That is each class's mask without what is left of it after as many 3×3 erosions, for all classes at once.
    What lies in pixels of 255 is not known, so they make no boundary around them.

    Args:
      ids: uint8 (H, W).
      distance: in pixels, 1 or more.
    """
    unknown = ids == IGNORE_ID
    largest = _reach(np.where(unknown, np.uint8(0), ids), distance, np.maximum)
    smallest = _reach(ids, distance, np.minimum)  # 255 is above all ids
    near = (largest != ids) | (smallest != ids)
    for edge in (near[:distance], near[-distance:], near[:, :distance], near[:, -distance:]):
        edge[...] = True
    return near & ~unknown


def _reach(ids: np.ndarray, distance: int, extremum: np.ufunc) -> np.ndarray:
    """The extremum over a square of 2·distance + 1 pixels around each; what lies outside has no part in it."""
    for axis in (0, 1):
        ids = np.moveaxis(_reach_along(np.moveaxis(ids, axis, 0), distance, extremum), 0, axis)
    return ids


def _reach_along(ids: np.ndarray, distance: int, extremum: np.ufunc) -> np.ndarray:
    """`_reach` along the first axis. Windows are made of windows of half the length: 7 passes, not 89, at 1080p."""
    length = 2 * distance + 1
    windows = np.pad(ids, [(distance, distance), (0, 0)], mode="edge")
    width = 1
    while width < length:
        step = min(width, length - width)
        windows = extremum(windows[:-step], windows[step:])
        width += step
    return windows

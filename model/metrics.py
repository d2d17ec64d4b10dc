"""Exact scores of a whole split: one int64 confusion matrix, and what is read off it.

``matrix[truth, prediction]`` counts pixels; pixels labelled 255 are not counted. It is summed over batches
and replicas, so no score depends on how the split was cut into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from configs.taxonomy import IGNORE_ID


class ConfusionMatrix(keras.metrics.Metric):
    """Counts pixels by true and predicted class, int64 (classes, classes); ``result`` is the mIoU.

    Under a distribution strategy each replica counts its own pixels and reading adds them up. (float32, as
    in Keras' own IoU metrics, stops counting at 16.7 million.)
    """

    def __init__(self, classes: int, name: str = "confusion_matrix") -> None:
        super().__init__(name=name)
        self.classes = classes
        self.matrix = self.add_weight(shape=(classes, classes), initializer="zeros", dtype="int64", name="matrix")
        self._before = np.zeros((classes, classes), np.int64)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count one batch.

        Args:
          y_true: integer (B, H, W), class ids; 255 is ignored.
          y_pred: float (B, H, W, C) class scores, or integer (B, H, W) class ids.
          sample_weight: not supported; pixels are counted.
        """
        self.matrix.assign_add(confusion(y_true, y_pred, self.classes))

    def result(self) -> Any:
        """mIoU as a tensor, for Keras; `mean_iou` of `counts` is the exact float64 one."""
        matrix = ops.cast(self.matrix + self._before, "float32")
        both = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - both
        seen = ops.cast(union > 0, "float32")
        return ops.sum(ops.divide_no_nan(both, union)) / ops.maximum(ops.sum(seen), 1.0)

    def counts(self) -> np.ndarray:
        """int64 (classes, classes): the counts so far, over all replicas."""
        return self._before + np.asarray(ops.convert_to_numpy(self.matrix.value), np.int64)

    def set_counts(self, counts: Sequence[Sequence[int]] | np.ndarray) -> None:
        """Go on from these counts; assigned to the matrix, each replica would get a rounded share of them."""
        self.reset_state()
        self._before = np.array(counts, np.int64)

    def reset_state(self) -> None:
        """Start again from nothing."""
        self._before = np.zeros_like(self._before)
        self.matrix.assign(ops.zeros((self.classes, self.classes), dtype="int64"))


def confusion(masks: Any, scores: Any, classes: int) -> Any:
    """One batch's confusion matrix, int64 (classes, classes), rows are the truth."""
    predicted = ops.argmax(scores, axis=-1) if len(scores.shape) == 4 else scores
    masks, predicted = ops.cast(ops.reshape(masks, [-1]), "int32"), ops.cast(ops.reshape(predicted, [-1]), "int32")
    # Ignored pixels are counted in a cell of their own, which is then cut off.
    cells = classes * classes
    cell = ops.where(ops.equal(masks, IGNORE_ID), cells, masks * classes + predicted)
    counted = ops.bincount(cell, minlength=cells + 1)[:cells]
    return ops.cast(ops.reshape(counted, (classes, classes)), "int64")


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """float64 (classes,): intersection over union; NaN where a class is neither there nor predicted."""
    both, truth, predicted = _counts(matrix)
    return _ratio(both, truth + predicted - both)


def class_dice(matrix: np.ndarray) -> np.ndarray:
    """float64 (classes,): 2 · intersection / (truth + prediction); NaN where a class is in neither."""
    both, truth, predicted = _counts(matrix)
    return _ratio(2 * both, truth + predicted)


def class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """float64 (classes,): the share of a class's pixels that are found (recall); NaN where there are none."""
    both, truth, _ = _counts(matrix)
    return _ratio(both, truth)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean of `class_iou` over the classes that are there or predicted; 0 when there are none."""
    return class_mean(class_iou(matrix))


def frequency_weighted_iou(matrix: np.ndarray) -> float:
    """Mean of `class_iou`, each class weighted by its share of the scored pixels."""
    _, truth, _ = _counts(matrix)
    return float(np.nansum(class_iou(matrix) * truth) / max(truth.sum(), 1))


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of scored pixels whose class is right."""
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def class_mean(values: np.ndarray) -> float:
    """Mean of one value a class over the classes that have one; 0 when none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def coarser_confusion(matrix: np.ndarray, parents: Sequence[int], classes: int) -> np.ndarray:
    """int64 (classes, classes): the counts at a coarser level, to which a pixel wrong within one parent is right.

    Args:
      matrix: int64, the counts of the finer level.
      parents: for each of its classes the coarser level's class id.
      classes: number of classes of the coarser level.
    """
    coarse = np.zeros((classes, classes), np.int64)
    np.add.at(coarse, (np.asarray(parents)[:, None], np.asarray(parents)[None, :]), matrix)
    return coarse


def _counts(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each class that are right, there, and predicted."""
    return np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)

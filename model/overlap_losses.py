"""Losses of classes' overlap: dice, Jaccard, Tversky and Lovász-softmax, and the library's ``iou_score``.

But for the last, the sums of an overlap run over the whole batch, of all replicas, before anything is
divided. A mean over classes counts all classes alike, however rare; class weights are taken relative to
their own mean, so that a perfect prediction scores 1 whatever they are (segmentation_models leaves them as
they are).
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from model.scored import CallableLoss, Scored, Statistics, Tensor, ratio

SMOOTH = 1e-5


class _Overlap(CallableLoss):
    """Sums per class over batch, height and width: of truth · prediction, of truth, of prediction."""

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        self._class_weights = None if class_weights is None else tuple(class_weights)

    def statistics(self, scored: Scored) -> Statistics:
        """``both``, ``truth`` and ``prediction``, each (C,)."""
        return self._sums(scored.truth, scored.prediction)

    def _sums(self, truth: Tensor, prediction: Tensor) -> Statistics:
        axes = (0, 1, 2)
        return {
            "both": ops.sum(truth * prediction, axis=axes),
            "truth": ops.sum(truth, axis=axes),
            "prediction": ops.sum(prediction, axis=axes),
        }

    def _class_mean(self, values: Tensor) -> Tensor:
        if self._class_weights is None:
            return ops.mean(values)
        weights = ops.convert_to_tensor(self._class_weights, dtype=values.dtype)
        return ops.sum(values * weights) / ops.sum(weights)


class Dice(_Overlap):
    """1 − mean over classes of (2·both + s) / (truth + prediction + s), s = 1e-5.

    Args:
      class_weights: one weight a class, or None.
      beta: how many times as much a missed pixel counts as a wrong one, squared (the F-beta score).
    """

    def __init__(self, class_weights: Sequence[float] | None = None, beta: float = 1.0) -> None:
        super().__init__(class_weights)
        self._square = beta**2

    def finish(self, statistics: Statistics) -> Tensor:
        """The dice loss of summed overlaps."""
        both = (1.0 + self._square) * statistics["both"]
        total = self._square * statistics["truth"] + statistics["prediction"]
        return 1.0 - self._class_mean((both + SMOOTH) / (total + SMOOTH))


class SoftIoU(_Overlap):
    """Mean over classes of (both + s) / (truth + prediction − both + s), s = 1e-5: a score, 1 is best.

    It depends on the batch and is no data set's mIoU; `model.metrics` has that one.

    Args:
      class_weights: one weight a class, or None.
      threshold: 0..1, count a prediction as 1 where it is above, else as 0; None takes it as it is.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, threshold: float | None = None) -> None:
        super().__init__(class_weights)
        self._threshold = threshold

    def statistics(self, scored: Scored) -> Statistics:
        """``both``, ``truth`` and ``prediction``, each (C,)."""
        prediction = scored.prediction
        if self._threshold is not None:
            prediction = ops.cast(prediction > self._threshold, prediction.dtype)
        return self._sums(scored.truth, prediction)

    def finish(self, statistics: Statistics) -> Tensor:
        """The score of summed overlaps."""
        union = statistics["truth"] + statistics["prediction"] - statistics["both"]
        return self._class_mean((statistics["both"] + SMOOTH) / (union + SMOOTH))


class Jaccard(SoftIoU):
    """1 − `SoftIoU` of the predictions as they are."""

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(class_weights)

    def finish(self, statistics: Statistics) -> Tensor:
        """The Jaccard loss of summed overlaps."""
        return 1.0 - super().finish(statistics)


class Tversky(_Overlap):
    """1 − mean over classes of (both + s) / (both + alpha · wrong + beta · missed + s), s = 1e-5.

    Args:
      alpha: weight of false positives, prediction outside of the truth.
      beta: weight of false negatives, truth that is not predicted. (Keras' own Tversky has the two exchanged.)
        Both 0.5 give dice, both 1 Jaccard; a beta above alpha finds more of a rare class.
      class_weights: one weight a class, or None.

    Reference: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep
    networks", 2017, whose best values are the defaults.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        self._alpha, self._beta = alpha, beta

    def finish(self, statistics: Statistics) -> Tensor:
        """The Tversky loss of summed overlaps."""
        both = statistics["both"]
        wrong, missed = statistics["prediction"] - both, statistics["truth"] - both
        whole = both + self._alpha * wrong + self._beta * missed
        return 1.0 - self._class_mean((both + SMOOTH) / (whole + SMOOTH))


class LovaszSoftmax(CallableLoss):
    """The Lovász extension of 1 − IoU: mean over the classes that are there, of the errors in falling order.

    **Per replica**: the order of the errors cannot be made of sums. Each replica sorts its own pixels, and the
    values are averaged by scored pixels, so the loss depends on how a batch is cut; it is that of the joined
    batch on one device only.

    Args:
      class_weights: one weight a class, or None; the mean is over the weights of the classes that are there.

    Reference: Berman et al., "The Lovász-softmax loss", CVPR 2018.
    """

    per_replica = True

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        self._class_weights = None if class_weights is None else tuple(class_weights)

    def statistics(self, scored: Scored) -> Statistics:
        """``sum``, the value times the number of scored pixels, and that number, ``weight``; scalars."""
        classes = scored.truth.shape[-1]
        truth = ops.reshape(scored.truth, (-1, classes))
        prediction = ops.reshape(scored.prediction, (-1, classes))
        valid = ops.reshape(scored.valid, (-1, 1))
        errors = ops.abs(truth - prediction)
        # Ignored pixels come after all others, where they change no other's place.
        order = ops.argsort(ops.stop_gradient(ops.where(valid > 0, -errors, ops.ones_like(errors))), axis=0)
        truth = ops.take_along_axis(truth, order, axis=0)
        values = ops.sum(ops.take_along_axis(errors, order, axis=0) * _lovasz_gradient(truth), axis=0)
        there = ops.cast(ops.any(truth > 0, axis=0), values.dtype)
        if self._class_weights is not None:
            there = there * ops.convert_to_tensor(self._class_weights, dtype=values.dtype)
        pixels = ops.sum(scored.valid)
        return {"sum": pixels * ratio(ops.sum(there * values), ops.sum(there)), "weight": pixels}

    def finish(self, statistics: Statistics) -> Tensor:
        """sum / weight; 0 when nothing is scored."""
        return ratio(statistics["sum"], statistics["weight"])


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Truth (N, C) in the order of falling errors → by how much 1 − IoU grows with each further pixel wrong."""
    total = ops.sum(truth, axis=0, keepdims=True)
    left = total - ops.cumsum(truth, axis=0)
    union = total + ops.cumsum(1.0 - truth, axis=0)
    loss = 1.0 - left / union
    return ops.concatenate([loss[:1], loss[1:] - loss[:-1]], axis=0)

"""Losses as two functions: additive statistics of a batch, and the formula that finishes them.

Between the two the statistics are summed over all replicas, so any number of replicas gives exactly what
one device gives on the joined batch, wherever the ignored pixels lie. Pixels labelled 255 have no part in
any statistic, and no gradient; not even when the network's scores there are NaN.

A loss is called with masks and scores for its value, or its ``statistics`` and ``finish`` are called
separately. Values equal segmentation_models 1.0 (https://github.com/qubvel/segmentation_models).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from keras import ops

from configs.taxonomy import IGNORE_ID

Tensor = Any
Statistics = dict[str, Tensor]

SMOOTH = 1e-5
_LEAST, _MOST = 1e-7, 1.0 - 1e-7


class Scored(NamedTuple):
    """What all losses look at, made once. Ignored pixels are zero in ``truth`` and ``prediction``.

    Shapes: truth, prediction and log_prediction float (B, H, W, C); valid float (B, H, W). ``prediction``
    is the network's own activation; ``log_prediction`` is of it divided by its sum over the classes.
    """

    truth: Tensor
    prediction: Tensor
    log_prediction: Tensor
    valid: Tensor


def score(masks: Tensor, scores: Tensor, activation: str | None = None) -> Scored:
    """Masks and a network's output as `Scored`.

    Args:
      masks: integer (B, H, W), class ids; 255 is ignored.
      scores: float (B, H, W, C): logits, or probabilities when ``activation`` is None.
      activation: ``softmax`` or ``sigmoid`` of the logits. With logits the logarithm is exact for
        whatever they are; with probabilities they are cut to [1e-7, 1 − 1e-7] first.

    Raises:
      ValueError: unknown activation.
    """
    valid = ops.not_equal(masks, IGNORE_ID)
    # Before anything else: a NaN times zero is a NaN, a NaN not chosen is nothing.
    scores = ops.where(valid[..., None], scores, ops.zeros_like(scores))
    weight = ops.cast(valid, scores.dtype)
    truth = ops.one_hot(ops.where(valid, ops.cast(masks, "int32"), -1), scores.shape[-1], dtype=scores.dtype)
    if activation is None:
        total = ops.sum(scores, axis=-1, keepdims=True)
        share = ops.clip(scores / ops.where(total > 0, total, ops.ones_like(total)), _LEAST, _MOST)
        prediction, logarithm = scores, ops.log(share)
    elif activation == "softmax":
        prediction, logarithm = ops.softmax(scores), ops.log_softmax(scores)
    elif activation == "sigmoid":
        prediction, log_sigmoid = ops.sigmoid(scores), ops.log_sigmoid(scores)
        logarithm = log_sigmoid - ops.logsumexp(log_sigmoid, axis=-1, keepdims=True)
    else:
        raise ValueError(f"activation '{activation}' is unknown; there are softmax and sigmoid")
    return Scored(truth, prediction * weight[..., None], logarithm, weight)


class Loss(Protocol):
    """Additive statistics of a batch, and the formula that finishes their sum."""

    def statistics(self, scored: Scored) -> Statistics:
        """Sums over the batch that can be added over batches and replicas."""

    def finish(self, statistics: Statistics) -> Tensor:
        """The scalar loss of summed statistics."""


class _Callable:
    """``loss(masks, probabilities)`` or ``loss(masks, logits, activation="softmax")``: its value on one batch."""

    def __call__(self: Any, masks: Tensor, scores: Tensor, activation: str | None = None) -> Tensor:
        return self.finish(self.statistics(score(masks, scores, activation)))


class CrossEntropy(_Callable):
    """Mean over scored pixels of −log of the true class's share, weighted by class.

    Args:
      class_weights: one weight a class, or None for equal ones; the mean is over the weights.
      divide_by_classes: divide by the number of classes too, as segmentation_models does.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, divide_by_classes: bool = False) -> None:
        self._class_weights = class_weights
        self._divide_by_classes = divide_by_classes

    def statistics(self, scored: Scored) -> Statistics:
        """``sum`` of weighted cross-entropies and of their ``weight``, scalars."""
        entropy = -ops.sum(scored.truth * scored.log_prediction, axis=-1)
        weight = scored.valid
        if self._class_weights is not None:
            weights = ops.convert_to_tensor(self._class_weights, dtype=scored.truth.dtype)
            weight = ops.sum(scored.truth * weights, axis=-1)
        classes = float(scored.truth.shape[-1]) if self._divide_by_classes else 1.0
        return {"sum": ops.sum(entropy * weight), "weight": ops.sum(weight) * classes}

    def finish(self, statistics: Statistics) -> Tensor:
        """sum / weight; 0 when nothing is scored."""
        weight = statistics["weight"]
        return ops.where(
            weight > 0, statistics["sum"] / ops.where(weight > 0, weight, ops.ones_like(weight)), ops.zeros_like(weight)
        )


class _Overlap(_Callable):
    """Sums per class over batch, height and width: of truth · prediction, of truth, of prediction."""

    def statistics(self, scored: Scored) -> Statistics:
        """``both``, ``truth`` and ``prediction``, each (C,)."""
        axes = (0, 1, 2)
        return {
            "both": ops.sum(scored.truth * scored.prediction, axis=axes),
            "truth": ops.sum(scored.truth, axis=axes),
            "prediction": ops.sum(scored.prediction, axis=axes),
        }


class Dice(_Overlap):
    """1 − mean over classes of (2·both + s) / (truth + prediction + s), s = 1e-5."""

    def finish(self, statistics: Statistics) -> Tensor:
        """The dice loss of summed overlaps."""
        total = statistics["truth"] + statistics["prediction"]
        return 1.0 - ops.mean((2.0 * statistics["both"] + SMOOTH) / (total + SMOOTH))


class SoftIoU(_Overlap):
    """Mean over classes of (both + s) / (truth + prediction − both + s), s = 1e-5: a score, 1 is best.

    It depends on the batch and is no data set's mIoU; `model.metrics` has that one.
    """

    def finish(self, statistics: Statistics) -> Tensor:
        """The score of summed overlaps."""
        union = statistics["truth"] + statistics["prediction"] - statistics["both"]
        return ops.mean((statistics["both"] + SMOOTH) / (union + SMOOTH))


class WeightedSum(_Callable):
    """Several losses, each times its weight."""

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        self._terms = tuple(terms)

    def statistics(self, scored: Scored) -> Statistics:
        """All terms' statistics, numbered by term."""
        return {
            f"{number}_{key}": value
            for number, (_, loss) in enumerate(self._terms)
            for key, value in loss.statistics(scored).items()
        }

    def finish(self, statistics: Statistics) -> Tensor:
        """The weighted sum of the finished terms."""
        total: Tensor = 0.0
        for number, (weight, loss) in enumerate(self._terms):
            prefix = f"{number}_"
            own = {key.removeprefix(prefix): value for key, value in statistics.items() if key.startswith(prefix)}
            total = total + weight * loss.finish(own)
        return total


dice_loss = Dice()
iou_score = SoftIoU()
cce_dice_loss = WeightedSum([(1.0, CrossEntropy(divide_by_classes=True)), (1.0, dice_loss)])


def make_loss(name: str, class_weights: Sequence[float] | None = None) -> Loss:
    """A loss by its name in a recipe. Class weights go to its cross-entropy.

    Raises:
      ValueError: unknown name.
    """
    if name == "cross_entropy":
        return CrossEntropy(class_weights)
    if name == "dice_loss":
        return dice_loss
    if name == "cce_dice_loss":
        return WeightedSum([(1.0, CrossEntropy(class_weights, divide_by_classes=True)), (1.0, dice_loss)])
    raise ValueError(f"loss '{name}' is unknown; there are {', '.join(LOSS_NAMES)}")


LOSS_NAMES = ("cross_entropy", "dice_loss", "cce_dice_loss")

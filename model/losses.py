"""Losses by name, as recipes have them, and how they are added up.

    loss: [{name: cross_entropy}, {name: dice, weight: 0.5}, {name: focal, gamma: 1.5, class_weights: [1, 2, 1]}]

``dice_loss``, ``cce_dice_loss`` and ``iou_score`` equal segmentation_models 1.0
(https://github.com/qubvel/segmentation_models).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from configs.loading import Config
from model.overlap_losses import Dice, Jaccard, LovaszSoftmax, SoftIoU, Tversky
from model.pixel_losses import BinaryFocal, CrossEntropy, Focal, HardPixels
from model.scored import CallableLoss, Loss, Scored, Statistics, Tensor

Weights = Sequence[float] | None


class WeightedSum(CallableLoss):
    """Several losses, each times its weight."""

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        self._terms = tuple(terms)
        self.per_replica = any(loss.per_replica for _, loss in terms)

    def statistics(self, scored: Scored) -> Statistics:
        """All terms' statistics, numbered by term."""
        return _numbered([loss.statistics(scored) for _, loss in self._terms])

    def finish(self, statistics: Statistics) -> Tensor:
        """The weighted sum of the finished terms."""
        return _finish_numbered(self._terms, statistics)


class OnOutputs:
    """One loss on several outputs of a network, the main one first, each times its weight."""

    def __init__(self, loss: Loss, weights: Sequence[float]) -> None:
        self._terms = tuple((weight, loss) for weight in weights)
        self.per_replica = loss.per_replica

    def statistics(self, scored: Sequence[Scored]) -> Statistics:
        """The statistics on each output, numbered by output."""
        return _numbered([loss.statistics(output) for (_, loss), output in zip(self._terms, scored, strict=True)])

    def finish(self, statistics: Statistics) -> Tensor:
        """The weighted sum of the finished losses."""
        return _finish_numbered(self._terms, statistics)


def _numbered(parts: Sequence[Statistics]) -> Statistics:
    return {f"{number}_{key}": value for number, part in enumerate(parts) for key, value in part.items()}


def _finish_numbered(terms: Sequence[tuple[float, Loss]], statistics: Statistics) -> Tensor:
    total: Tensor = 0.0
    for number, (weight, loss) in enumerate(terms):
        prefix = f"{number}_"
        own = {key.removeprefix(prefix): value for key, value in statistics.items() if key.startswith(prefix)}
        total = total + weight * loss.finish(own)
    return total


def _cce_dice(class_weights: Weights = None) -> WeightedSum:
    return WeightedSum([(1.0, CrossEntropy(class_weights, divide_by_classes=True)), (1.0, Dice())])


dice_loss = Dice()
jaccard_loss = Jaccard()
iou_score = SoftIoU()
cce_dice_loss = _cce_dice()

ClassWeights = Literal["none", "median_frequency", "sqrt_median_frequency"]
"""Median frequency evens out the gradient of all classes and makes thin ones fat; its root is between that and none."""


class _Term(Config):
    """One term of a recipe's loss, times its weight."""

    weight: float = Field(default=1.0, gt=0.0)
    class_weights: ClassWeights | tuple[float, ...] | None = None
    """One weight a class, or the manifest's. By default ``train.class_weights`` where the loss is a mean over
    pixels, and none where it is one over classes, which counts rare classes as much as others already."""

    def over_pixels(self) -> bool:
        """Whether ``train.class_weights`` is for this loss."""
        return True

    def build(self, class_weights: Weights) -> Loss:
        """The loss, with these class weights."""
        raise NotImplementedError


class CrossEntropyTerm(_Term):
    """`CrossEntropy`."""

    name: Literal["cross_entropy"]
    divide_by_classes: bool = False

    def build(self, class_weights: Weights) -> Loss:
        return CrossEntropy(class_weights, self.divide_by_classes)


class CceDiceTerm(_Term):
    """segmentation_models' sum of the two; class weights are its cross-entropy's."""

    name: Literal["cce_dice_loss"]

    def build(self, class_weights: Weights) -> Loss:
        return _cce_dice(class_weights)


class FocalTerm(_Term):
    """`Focal` or `BinaryFocal`."""

    name: Literal["focal", "binary_focal"]
    gamma: float = Field(default=2.0, ge=0.0)
    alpha: float = Field(default=0.25, gt=0.0, le=1.0)

    def build(self, class_weights: Weights) -> Loss:
        return (Focal if self.name == "focal" else BinaryFocal)(self.gamma, self.alpha, class_weights)


class HardPixelsTerm(_Term):
    """`HardPixels`."""

    name: Literal["hard_pixels"]
    threshold: float = Field(default=0.7, gt=0.0, lt=1.0)
    minimum_share: float = Field(default=0.1, ge=0.0, le=1.0)

    def build(self, class_weights: Weights) -> Loss:
        return HardPixels(self.threshold, self.minimum_share, class_weights)


class _ClassMeanTerm(_Term):
    def over_pixels(self) -> bool:
        return False


class DiceTerm(_ClassMeanTerm):
    """`Dice`."""

    name: Literal["dice", "dice_loss"]
    beta: float = Field(default=1.0, gt=0.0)

    def build(self, class_weights: Weights) -> Loss:
        return Dice(class_weights, self.beta)


class JaccardTerm(_ClassMeanTerm):
    """`Jaccard`."""

    name: Literal["jaccard", "jaccard_loss"]

    def build(self, class_weights: Weights) -> Loss:
        return Jaccard(class_weights)


class TverskyTerm(_ClassMeanTerm):
    """`Tversky`: alpha is on false positives, beta on false negatives."""

    name: Literal["tversky"]
    alpha: float = Field(default=0.3, ge=0.0)
    beta: float = Field(default=0.7, ge=0.0)

    def build(self, class_weights: Weights) -> Loss:
        return Tversky(self.alpha, self.beta, class_weights)


class LovaszTerm(_ClassMeanTerm):
    """`LovaszSoftmax`, which is per replica."""

    name: Literal["lovasz_softmax"]

    def build(self, class_weights: Weights) -> Loss:
        return LovaszSoftmax(class_weights)


LossTerm = Annotated[
    CrossEntropyTerm | CceDiceTerm | FocalTerm | HardPixelsTerm | DiceTerm | JaccardTerm | TverskyTerm | LovaszTerm,
    Field(discriminator="name"),
]

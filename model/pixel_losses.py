"""Losses that are means over pixels: cross-entropy, focal, and cross-entropy over the hardest pixels.

Means are over scored pixels, weighted by their true class where class weights are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from keras import ops

from model.scored import CallableLoss, Scored, Statistics, Tensor, ratio


class _PixelMean(CallableLoss):
    """Weighted mean of one value a pixel."""

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        self._class_weights = None if class_weights is None else tuple(class_weights)

    def _values(self, scored: Scored) -> Tensor:
        """float (B, H, W), 0 at ignored pixels."""
        raise NotImplementedError

    def statistics(self, scored: Scored) -> Statistics:
        """``sum`` of weighted values and of their ``weight``, scalars."""
        weights = scored.weights(self._class_weights)
        return {"sum": ops.sum(self._values(scored) * weights), "weight": ops.sum(weights)}

    def finish(self, statistics: Statistics) -> Tensor:
        """sum / weight; 0 when nothing is scored."""
        return ratio(statistics["sum"], statistics["weight"])


class CrossEntropy(_PixelMean):
    """Mean over scored pixels of −log of the true class's share.

    Args:
      class_weights: one weight a class, or None for equal ones; the mean is over the weights.
      divide_by_classes: divide by the number of classes too, as segmentation_models does.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, divide_by_classes: bool = False) -> None:
        super().__init__(class_weights)
        self._divide_by_classes = divide_by_classes

    def _values(self, scored: Scored) -> Tensor:
        entropy = -ops.sum(scored.truth * scored.log_share, axis=-1)
        return entropy / scored.truth.shape[-1] if self._divide_by_classes else entropy


class Focal(_PixelMean):
    """Mean over scored pixels and classes of −alpha · (1 − p)^gamma · log p for the true class.

    Its values are segmentation_models' ``categorical_focal_loss``; p is the network's own activation.

    Reference: Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        self._gamma, self._alpha = gamma, alpha

    def _values(self, scored: Scored) -> Tensor:
        return ops.mean(-self._alpha * scored.truth * _focused(scored.log_prediction, self._gamma), axis=-1)


class BinaryFocal(_PixelMean):
    """`Focal` of each class against all others: also the other classes' predictions are to be low.

    A class that is not the true one adds −(1 − alpha) · p^gamma · log(1 − p). Values are segmentation_models'
    ``binary_focal_loss``.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        self._gamma, self._alpha = gamma, alpha

    def _values(self, scored: Scored) -> Tensor:
        others = scored.valid[..., None] - scored.truth
        is_true = self._alpha * scored.truth * _focused(scored.log_prediction, self._gamma)
        is_not = (1.0 - self._alpha) * others * _focused(scored.log_complement, self._gamma)
        return -ops.mean(is_true + is_not, axis=-1)


def _focused(log_p: Tensor, gamma: float) -> Tensor:
    """(1 − p)^gamma · log p."""
    # A power of 0 with an exponent below 1 has an infinite slope.
    return ops.power(ops.clip(1.0 - ops.exp(log_p), 1e-7, 1.0), gamma) * log_p


class HardPixels(CallableLoss):
    """Cross-entropy over hard pixels only: those whose true class has less than a threshold's share.

    Where these are fewer than ``minimum_share`` of the scored pixels, the hardest such share is kept.

    The first kind is a sum and exact. The second would need all replicas' pixels in order; here they are
    counted into `BINS` bins of their loss, which are summed, so that it too is the same on any number of
    replicas. Of the last bin that is still needed, all pixels count with the part that is needed of it: the
    value lies within 2.5 % of that of the exact choice, for losses between 1e-4 and 32.

    Args:
      threshold: share of the true class, above 0 and below 1, under which a pixel is hard.
      minimum_share: part of the scored pixels that is kept at least, 0..1.
      class_weights: one weight a class; they weigh the kept pixels and do not choose them.

    Reference: Shrivastava et al., "Training region-based object detectors with online hard example mining",
    CVPR 2016.
    """

    BINS = 512
    _LEAST, _MOST = log(1e-4), log(32.0)

    def __init__(
        self,
        threshold: float = 0.7,
        minimum_share: float = 0.1,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        self._limit, self._minimum_share = -log(threshold), minimum_share
        self._class_weights = None if class_weights is None else tuple(class_weights)

    def statistics(self, scored: Scored) -> Statistics:
        """Scalars ``hard_sum``, ``hard_weight``, ``hard_count``; and (BINS,) ``sums``, ``weights``, ``counts``."""
        entropy = -ops.sum(scored.truth * scored.log_share, axis=-1)
        weights = scored.weights(self._class_weights)
        hard = ops.cast(entropy > self._limit, entropy.dtype) * scored.valid
        bins = ops.reshape(self._bins(entropy, scored.valid), [-1])

        def in_bins(values: Tensor) -> Tensor:
            return ops.segment_sum(ops.reshape(values, [-1]), bins, num_segments=self.BINS + 1)[: self.BINS]

        return {
            "hard_sum": ops.sum(hard * entropy * weights),
            "hard_weight": ops.sum(hard * weights),
            "hard_count": ops.sum(hard),
            "sums": in_bins(entropy * weights),
            "weights": in_bins(weights),
            "counts": in_bins(scored.valid),
        }

    def finish(self, statistics: Statistics) -> Tensor:
        """The mean over all hard pixels, or over the hardest share when they are too few."""
        counts = statistics["counts"]
        wanted = self._minimum_share * ops.sum(counts)
        harder = ops.flip(ops.cumsum(ops.flip(counts))) - counts
        part = ops.clip((wanted - harder) / ops.maximum(counts, 1.0), 0.0, 1.0)
        hardest = ratio(ops.sum(part * statistics["sums"]), ops.sum(part * statistics["weights"]))
        enough = statistics["hard_count"] >= wanted
        return ops.where(enough, ratio(statistics["hard_sum"], statistics["hard_weight"]), hardest)

    def _bins(self, entropy: Tensor, valid: Tensor) -> Tensor:
        """int32 (B, H, W): the bin of each pixel's loss, equal steps of its logarithm; BINS at ignored pixels."""
        logarithm = ops.log(ops.maximum(ops.stop_gradient(entropy), 1e-30))
        place = (logarithm - self._LEAST) * (self.BINS / (self._MOST - self._LEAST))
        bins = ops.cast(ops.clip(place, 0.0, self.BINS - 1.0), "int32")
        return ops.where(valid > 0, bins, self.BINS)

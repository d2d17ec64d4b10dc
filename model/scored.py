"""What every loss looks at, and what every loss is: two functions with a sum over the replicas in between.

A loss is additive statistics of a batch, and the formula that finishes them. Between the two the
statistics are summed over all replicas, so any number of replicas gives exactly what one device gives on
the joined batch, wherever the ignored pixels lie. Pixels labelled 255 have no part in any statistic, and no
gradient; not even when the network's scores there are NaN.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

from keras import ops

from configs.taxonomy import IGNORE_ID

Tensor = Any
Statistics = dict[str, Tensor]

_LEAST, _MOST = 1e-7, 1.0 - 1e-7
"""To which probabilities are cut before their logarithm, as segmentation_models does."""


class Scored:
    """A batch's truth and the network's scores for it. All that follows from them is made once, when asked for.

    ``truth`` float (B, H, W, C) is one-hot and ``valid`` float (B, H, W) is 1 or 0; both are 0 at ignored pixels.
    """

    def __init__(self, truth: Tensor, valid: Tensor, scores: Tensor, activation: str | None) -> None:
        """``scores`` float (B, H, W, C) are finite; see `score`, which makes them so."""
        self.truth, self.valid = truth, valid
        self._scores, self._activation = scores, activation

    @cached_property
    def prediction(self) -> Tensor:
        """float (B, H, W, C): the network's own activation; 0 at ignored pixels."""
        return self._activated * self.valid[..., None]

    @cached_property
    def log_share(self) -> Tensor:
        """float (B, H, W, C): logarithm of the prediction divided by its sum over the classes."""
        if self._activation == "softmax":
            return self._log_activated
        if self._activation == "sigmoid":
            return self._log_activated - ops.logsumexp(self._log_activated, axis=-1, keepdims=True)
        total = ops.sum(self._scores, axis=-1, keepdims=True)
        return ops.log(ops.clip(self._scores / ops.where(total > 0, total, ops.ones_like(total)), _LEAST, _MOST))

    @cached_property
    def log_prediction(self) -> Tensor:
        """float (B, H, W, C): logarithm of the network's own activation."""
        return self._log_activated

    @cached_property
    def log_complement(self) -> Tensor:
        """float (B, H, W, C): logarithm of 1 − the network's own activation."""
        if self._activation == "sigmoid":
            return ops.log_sigmoid(-self._scores)
        return ops.log(1.0 - ops.clip(self._activated, _LEAST, _MOST))

    def weights(self, class_weights: tuple[float, ...] | None) -> Tensor:
        """float (B, H, W): the weight of each pixel's true class, or 1; 0 at ignored pixels."""
        if class_weights is None:
            return self.valid
        return ops.sum(self.truth * ops.convert_to_tensor(class_weights, dtype=self.truth.dtype), axis=-1)

    @cached_property
    def _activated(self) -> Tensor:
        if self._activation is None:
            return self._scores
        return ops.softmax(self._scores) if self._activation == "softmax" else ops.sigmoid(self._scores)

    @cached_property
    def _log_activated(self) -> Tensor:
        if self._activation is None:
            return ops.log(ops.clip(self._scores, _LEAST, _MOST))
        return ops.log_softmax(self._scores) if self._activation == "softmax" else ops.log_sigmoid(self._scores)


def score(masks: Tensor, scores: Tensor, activation: str | None = None) -> Scored:
    """Masks and a network's output as `Scored`.

    Args:
      masks: integer (B, H, W), class ids; 255 is ignored. An id that has no channel counts against all classes.
      scores: float (B, H, W, C): logits, or probabilities when ``activation`` is None.
      activation: ``softmax`` or ``sigmoid`` of the logits. With logits the logarithm is exact for
        whatever they are; with probabilities they are cut to [1e-7, 1 − 1e-7] first.

    Raises:
      ValueError: unknown activation.
    """
    if activation not in (None, "softmax", "sigmoid"):
        raise ValueError(f"activation '{activation}' is unknown; there are softmax and sigmoid")
    scores = ops.convert_to_tensor(scores)
    valid = ops.not_equal(masks, IGNORE_ID)
    # Before anything else: a NaN times zero is a NaN, a NaN not chosen is nothing.
    scores = ops.where(valid[..., None], scores, ops.zeros_like(scores))
    truth = ops.one_hot(ops.where(valid, ops.cast(masks, "int32"), -1), scores.shape[-1], dtype=scores.dtype)
    return Scored(truth, ops.cast(valid, scores.dtype), scores, activation)


class Loss(Protocol):
    """Additive statistics of a batch, and the formula that finishes their sum."""

    per_replica: bool
    """The value depends on how a batch is cut into replicas' shares: what the loss sorts cannot be summed."""

    def statistics(self, scored: Scored) -> Statistics:
        """Sums over the batch that can be added over batches and replicas."""

    def finish(self, statistics: Statistics) -> Tensor:
        """The scalar loss of summed statistics."""


class CallableLoss:
    """``loss(masks, probabilities)`` or ``loss(masks, logits, activation="softmax")``: its value on one batch."""

    per_replica = False

    def __call__(self: Any, masks: Tensor, scores: Tensor, activation: str | None = None) -> Tensor:
        return self.finish(self.statistics(score(masks, scores, activation)))


def ratio(sums: Tensor, weights: Tensor) -> Tensor:
    """sums / weights; 0, and no gradient, where nothing was weighed."""
    some = weights > 0
    return ops.where(some, sums / ops.where(some, weights, ops.ones_like(weights)), ops.zeros_like(weights))

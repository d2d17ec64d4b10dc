"""Learning rates: a linear warm-up, then a curve over the steps that are left."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

Curve = Literal["cosine", "poly", "constant"]
POLY_POWER = 0.9
"""Of the published recipes (DeepLab, PSPNet, CANet)."""


@keras.saving.register_keras_serializable("streetmask")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Up to ``rate`` in ``warmup`` steps, then along a curve that ends at step ``steps``.

    ``cosine`` and ``poly`` (power 0.9) end at 0, ``constant`` stays level. Reference for the cosine: Loshchilov and
    Hutter, "SGDR", 2017, without restarts.
    """

    def __init__(self, rate: float, steps: int, warmup: int = 0, curve: Curve = "cosine") -> None:
        self.rate, self.steps, self.curve = rate, steps, curve
        self.warmup = min(warmup, max(steps - 1, 0))

    def __call__(self, step: Any) -> Any:
        """The rate of a step, 0 the first, float32."""
        step = ops.cast(step, "float32")
        done = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
        rising = (step + 1.0) / max(self.warmup, 1)
        return self.rate * ops.where(step < self.warmup, rising, self._share(done))

    def _share(self, done: Any) -> Any:
        if self.curve == "constant":
            return ops.ones_like(done)
        if self.curve == "poly":
            return (1.0 - done) ** POLY_POWER
        return 0.5 * (1.0 + ops.cos(math.pi * done))

    def get_config(self) -> dict[str, Any]:
        """The four numbers, for Keras."""
        return {"rate": self.rate, "steps": self.steps, "warmup": self.warmup, "curve": self.curve}

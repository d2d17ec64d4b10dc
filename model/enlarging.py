"""Layers that bring a small map to the size of a larger one, which is what CANET's flows and heads end with.

They hold for any height and width, also where the size is known only when the network runs: Keras' own
bilinear ``UpSampling2D`` cannot be traced then.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

Tensor = Any
Shape = tuple[int | None, ...]


def enlarge(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) → (B, factor·H, factor·W, C), bilinear with half-pixel centres, the border repeated."""
    return _enlarge_axis(_enlarge_axis(x, factor, 1), factor, 2)


def _enlarge_axis(x: Tensor, factor: int, axis: int) -> Tensor:
    """Along one axis: each place becomes ``factor`` places, each between it and its nearer neighbour."""
    ahead = (slice(None),) * axis
    before = ops.concatenate([x[(*ahead, slice(0, 1))], x[(*ahead, slice(0, -1))]], axis=axis)
    after = ops.concatenate([x[(*ahead, slice(1, None))], x[(*ahead, slice(-1, None))]], axis=axis)
    offsets = [(place + 0.5) / factor - 0.5 for place in range(factor)]
    places = [x + (after - x) * offset if offset > 0 else x + (before - x) * -offset for offset in offsets]
    shape = list(ops.shape(x))
    shape[axis] = shape[axis] * factor
    return ops.reshape(ops.stack(places, axis=axis + 1), (-1, *shape[1:]))


@keras.saving.register_keras_serializable("streetmask")
class Enlarge(layers.Layer):
    """(B, H, W, C) → (B, factor·H, factor·W, C), bilinear."""

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Tensor) -> Tensor:
        """`enlarge`."""
        return enlarge(x, self.factor)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """(B, factor·H, factor·W, C)."""
        batch, height, width, channels = shape
        return batch, height and height * self.factor, width and width * self.factor, channels

    def get_config(self) -> dict[str, Any]:
        """The factor, beside Keras' own."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("streetmask")
class EnlargeLike(layers.Layer):
    """``(x (B, h, w, C), like (B, H, W, D))`` → (B, H, W, C): what an average pooling took away, bilinearly.

    ``x`` is of a pooling by ``factor`` with padding "same" over a map of the size of ``like``: where H is no
    multiple of the factor, the first and the last window reach over the edge by half of what is missing
    each, and average what lies inside. Enlarging by the factor and cutting the same margins off leaves
    every value over the middle of its own window.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        """Enlarge and cut."""
        x = enlarge(x, self.factor)
        (height, width), (whole_height, whole_width) = ops.shape(like)[1:3], ops.shape(x)[1:3]
        top, left = (whole_height - height) // 2, (whole_width - width) // 2
        return x[:, top : top + height, left : left + width]

    def compute_output_shape(self, x_shape: Shape, like_shape: Shape) -> Shape:
        """(B, H, W, C)."""
        return (*like_shape[:3], x_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The factor, beside Keras' own."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("streetmask")
class SpreadLike(layers.Layer):
    """``(vector (B, 1, 1, C), like (B, H, W, D))`` → (B, H, W, C): one vector an image, at every place."""

    def call(self, vector: Tensor, like: Tensor) -> Tensor:
        """Repeat the vector over the height and width of ``like``."""
        batch, height, width = ops.shape(like)[:3]
        return ops.broadcast_to(vector, (batch, height, width, vector.shape[-1]))

    def compute_output_shape(self, vector_shape: Shape, like_shape: Shape) -> Shape:
        """(B, H, W, C)."""
        return (*like_shape[:3], vector_shape[-1])

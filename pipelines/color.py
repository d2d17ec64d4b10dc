"""Colour of the augmentation: one 3×4 matrix an image, then gamma and noise. Levels are RGB 0..255, in and out."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from pydantic import Field

from configs.loading import Config
from pipelines.random_key import RandomKey

_LUMA = ((0.299, 0.587, 0.114),) * 3
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_MIDDLE_GREY = 127.5
_COLOR, _NOISE = 1, 3  # purposes of the key; geometry has 0 and 2


class ColorOptions(Config):
    """What of section ``augment`` changes levels. All that is left at 0 does nothing."""

    brightness: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Levels are multiplied by 1 ± this."""
    contrast: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Distances from middle grey are multiplied by 1 ± this."""
    saturation: float = Field(default=0.0, ge=0.0, le=1.0)
    """Distances from grey of equal luma are multiplied by 1 ± this."""
    hue: float = Field(default=0.0, ge=0.0, le=180.0)
    """Largest turn of the hue in degrees, either way."""
    channel_gain: float = Field(default=0.0, ge=0.0, lt=1.0)
    """R, G and B are multiplied by 1 ± this, each on its own."""
    gamma: float = Field(default=0.0, ge=0.0, le=4.0)
    """Levels, as shares of 255, are raised to a power between 1 / (1 + this) and 1 + this, drawn log-uniformly."""
    noise: float = Field(default=0.0, ge=0.0, le=255.0)
    """Largest standard deviation of Gaussian noise in levels; drawn from 0 up to it."""

    @property
    def recolors(self) -> bool:
        """Whether any level can change."""
        linear = (self.brightness, self.contrast, self.saturation, self.hue, self.channel_gain)
        return any((*linear, self.gamma, self.noise))


class ColorDraws(NamedTuple):
    """What was drawn for each image of a batch of B; float32 (B,) where nothing else is said."""

    brightness: tf.Tensor
    contrast: tf.Tensor
    saturation: tf.Tensor
    hue: tf.Tensor
    """Degrees."""
    channel_gain: tf.Tensor
    """float32 (B, 3)."""
    gamma: tf.Tensor
    noise: tf.Tensor
    """Standard deviation in levels."""
    noise_seed: tf.Tensor
    """int32 (2,): of the noise itself."""


def draw_color(batch: tf.Tensor | int, options: ColorOptions, key: RandomKey) -> ColorDraws:
    """Draw what happens to each image's levels; see `ColorOptions` for the ranges."""
    draws = key.uniform((batch, 9), purpose=_COLOR)
    return ColorDraws(
        brightness=1.0 + options.brightness * draws[:, 0],
        contrast=1.0 + options.contrast * draws[:, 1],
        saturation=1.0 + options.saturation * draws[:, 2],
        hue=options.hue * draws[:, 3],
        channel_gain=1.0 + options.channel_gain * draws[:, 4:7],
        gamma=tf.exp(math.log1p(options.gamma) * draws[:, 7]),
        noise=options.noise * (draws[:, 8] + 1.0) / 2.0,
        noise_seed=key.fold(_NOISE),
    )


def color_matrices(draws: ColorDraws) -> tf.Tensor:
    """One matrix an image, float32 (B, 3, 4): new RGB = matrix · (R, G, B, 1)."""
    saturation = draws.saturation[:, None, None]
    matrix = saturation * tf.eye(3) + (1.0 - saturation) * tf.constant(_LUMA)
    matrix = _hue_rotation(draws.hue * (math.pi / 180.0)) @ matrix
    scale = draws.channel_gain * (draws.brightness * draws.contrast)[:, None]
    offset = _MIDDLE_GREY * (1.0 - draws.contrast)[:, None, None] * tf.ones([3, 1])
    return tf.concat([scale[:, :, None] * matrix, offset], axis=-1)


def recolor(images: tf.Tensor, draws: ColorDraws, options: ColorOptions) -> tf.Tensor:
    """Change the levels of a batch as it was drawn.

    Args:
      images: float32 (B, h, w, 3) in 0..255.

    Returns:
      float32 (B, h, w, 3) in 0..255.
    """
    images = _transform(images, color_matrices(draws), draws.gamma if options.gamma else None)
    if options.noise:
        noise = tf.random.stateless_normal(tf.shape(images), seed=draws.noise_seed)
        images = tf.clip_by_value(images + noise * draws.noise[:, None, None, None], 0.0, 255.0)
    return images


@tf.function(jit_compile=True)
def _transform(images: tf.Tensor, matrices: tf.Tensor, gamma: tf.Tensor | None) -> tf.Tensor:
    """Matrix, clip and gamma in one loop: twice as fast as a matrix product and a clip (tests.bench_augment)."""
    columns = matrices[:, None, None]
    levels = sum(images[..., c : c + 1] * columns[..., c] for c in range(3)) + columns[..., 3]
    levels = tf.clip_by_value(levels, 0.0, 255.0)
    return levels if gamma is None else 255.0 * tf.pow(levels / 255.0, gamma[:, None, None, None])


def _hue_rotation(angle: tf.Tensor) -> tf.Tensor:
    """RGB matrices (B, 3, 3) that turn chroma by an angle in YIQ and keep luma."""
    to_yiq = tf.constant(_RGB_TO_YIQ)
    cosine, sine, zero, one = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle), tf.ones_like(angle)
    turn = tf.stack(
        [
            tf.stack([one, zero, zero], -1),
            tf.stack([zero, cosine, -sine], -1),
            tf.stack([zero, sine, cosine], -1),
        ],
        axis=-2,
    )
    return tf.linalg.inv(to_yiq) @ turn @ to_yiq

"""Augmentation on the device, inside the training step: geometry as one resampling, colour as one matrix.

Images are RGB 0..255 on the way in and out (normalisation is the network's first layer); masks hold class
ids and 255, and are only ever moved by nearest neighbour, so no id is invented.

Every random number is a function of (seed, step, replica) and the place in the batch: replicas differ, a
run can be repeated, and one that goes on continues the sequence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
from pydantic import Field, PositiveInt, field_validator

from configs.loading import Config
from configs.taxonomy import IGNORE_ID

_LUMA = ((0.299, 0.587, 0.114),) * 3
_RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_MIDDLE_GREY = 127.5


class AugmentOptions(Config):
    """Section ``augment`` of a training recipe. All that is left at 0 (scale at 1) does nothing."""

    flip: float = Field(default=0.5, ge=0.0, le=1.0)
    """Probability of a left-right flip."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the magnification, drawn log-uniformly: 2 shows half the width."""
    rotate: float = Field(default=0.0, ge=0.0, le=180.0)
    """Largest turn in degrees, either way."""
    shear: float = Field(default=0.0, ge=0.0, lt=90.0)
    """Largest horizontal shear in degrees, either way."""
    translate: float = Field(default=0.0, ge=0.0, le=1.0)
    """Largest shift as a share of height and width, either way."""
    crop: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) of the output, at a random place; None keeps the input's size."""
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

    @field_validator("scale")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 < value[0] <= value[1]:
            raise ValueError("expected [least, most] with 0 < least <= most")
        return value


class RandomKey(NamedTuple):
    """What a step's random numbers are a function of: int32 scalars or Python ints."""

    seed: tf.Tensor | int
    step: tf.Tensor | int
    replica: tf.Tensor | int

    def uniform(self, shape: tuple[tf.Tensor | int, ...], purpose: int) -> tf.Tensor:
        """float32 in [−1, 1), another sequence for each purpose."""
        key = tf.random.fold_in(
            tf.cast(tf.stack([self.seed, self.step]), tf.int32), tf.cast(self.replica, tf.int32) * 64 + purpose
        )
        return tf.random.stateless_uniform(shape, seed=key, minval=-1.0, maxval=1.0)


def augment(
    images: tf.Tensor, masks: tf.Tensor, options: AugmentOptions, key: RandomKey
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augment one batch.

    Args:
      images: uint8 or float32 (B, H, W, 3), RGB 0..255.
      masks: uint8 (B, H, W), class ids; 255 is ignored.
      options: what is drawn from which range.
      key: what the random numbers are a function of.

    Returns:
      float32 (B, h, w, 3) in 0..255 and uint8 (B, h, w), with (h, w) = options.crop or (H, W).
    """
    images = tf.cast(images, tf.float32)
    size = (images.shape[1], images.shape[2])
    output = options.crop or size
    moves = any((options.flip, options.rotate, options.shear, options.translate)) or options.scale != (1.0, 1.0)
    if moves or output != size:
        matrices = geometry_matrices(tf.shape(images)[0], size, output, options, key)
        images, masks = resample(images, masks, matrices, output)
    if any((options.brightness, options.contrast, options.saturation, options.hue, options.channel_gain)):
        images = recolor(images, *color_matrices(tf.shape(images)[0], options, key))
    return images, masks


def geometry_matrices(
    batch: tf.Tensor | int, size: tuple[int, int], output: tuple[int, int], options: AugmentOptions, key: RandomKey
) -> tf.Tensor:
    """One matrix an image that maps output pixels to input pixels, float32 (B, 2, 3) for (x, y, 1).

    The origin is the centre of the top left pixel. A view smaller than the image lies anywhere inside it.
    """
    draws = key.uniform((batch, 6), purpose=0)
    low, high = (math.log(value) for value in options.scale)
    zoom = tf.exp((low + high) / 2 + draws[:, 0] * (high - low) / 2)
    angle = draws[:, 1] * math.radians(options.rotate)
    shear = tf.tan(draws[:, 2] * math.radians(options.shear))
    mirror = tf.where(draws[:, 3] < 2.0 * options.flip - 1.0, -1.0, 1.0)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    linear = tf.stack(
        [
            tf.stack([mirror * cosine, mirror * (shear * cosine - sine)], axis=-1),
            tf.stack([sine, shear * sine + cosine], axis=-1),
        ],
        axis=-2,
    )
    shown = tf.constant([output[1], output[0]], tf.float32) / zoom[:, None]  # (B, 2) as x, y
    whole = tf.constant([size[1], size[0]], tf.float32)
    room = tf.maximum(whole - shown, 0.0) / 2.0 + options.translate * whole
    middle_in = (whole - 1.0) / 2.0 + draws[:, 4:6] * room
    middle_out = (tf.constant([output[1], output[0]], tf.float32) - 1.0) / 2.0
    offset = middle_in - tf.linalg.matvec(linear, middle_out)
    return tf.concat([linear, offset[:, :, None]], axis=-1)


def resample(
    images: tf.Tensor, masks: tf.Tensor, matrices: tf.Tensor, output: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move images bilinearly and masks by nearest; what lies outside is black and 255."""
    transforms = tf.concat([tf.reshape(matrices, [-1, 6]), tf.zeros([tf.shape(matrices)[0], 2])], axis=-1)

    def move(tensor: tf.Tensor, interpolation: str, outside: float) -> tf.Tensor:
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=tensor,
            transforms=transforms,
            output_shape=output,
            fill_value=outside,
            interpolation=interpolation,
            fill_mode="CONSTANT",
        )

    moved = move(images, "BILINEAR", 0.0), move(masks[..., None], "NEAREST", float(IGNORE_ID))[..., 0]
    return tf.ensure_shape(moved[0], [None, *output, 3]), tf.ensure_shape(moved[1], [None, *output])


def color_matrices(batch: tf.Tensor | int, options: AugmentOptions, key: RandomKey) -> tuple[tf.Tensor, tf.Tensor]:
    """One colour matrix (B, 3, 3) and offset (B, 3) an image: new RGB = matrix · RGB + offset."""
    draws = key.uniform((batch, 7), purpose=1)
    identity = tf.eye(3)

    def factor(column: int, spread: float) -> tf.Tensor:
        return (1.0 + spread * draws[:, column])[:, None, None]

    saturation = factor(2, options.saturation)
    matrix = saturation * identity + (1.0 - saturation) * tf.constant(_LUMA)
    if options.hue:
        matrix = _hue_rotation(draws[:, 3] * math.radians(options.hue)) @ matrix
    gains = 1.0 + options.channel_gain * draws[:, 4:7]
    matrix = gains[:, :, None] * matrix * factor(0, options.brightness)
    contrast = factor(1, options.contrast)
    offset = _MIDDLE_GREY * (1.0 - contrast[:, :, 0]) * tf.ones([1, 3])
    return matrix * contrast, offset


def recolor(images: tf.Tensor, matrices: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Apply one colour matrix and offset to each image and clip to 0..255."""
    shape = tf.shape(images)
    flat = tf.reshape(images, [shape[0], -1, 3])
    colored = tf.matmul(flat, matrices, transpose_b=True) + offsets[:, None, :]
    return tf.reshape(tf.clip_by_value(colored, 0.0, 255.0), shape)


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

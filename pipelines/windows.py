"""Which part of a large image a training step sees: ``data.fit: crop``.

A window lies anywhere in the image with equal probability. With ``data.rare_class_crop`` some windows are
laid around a pixel of a rare class instead: of the classes in this image one is drawn with probability
inverse to its number of pixels in the training split, then one of its pixels, then one of the windows that
hold this pixel. Poles and riders are then seen about as often as roads, at no cost to the loss.

Every draw is a function of (seed, epoch, position in the epoch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.fitting import Size

IDS = 256


class WindowDraw(NamedTuple):
    """What windows are drawn by."""

    size: Size
    """Of the window."""
    rare_probability: float
    class_weights: np.ndarray
    """float32 (256,), weight of each id in the draw of a rare class; 0 for what is never drawn."""
    seed: int


def rarity(class_pixels: Sequence[int]) -> np.ndarray:
    """1 / share of each class in all scored pixels, float32 (256,); 0 where there are none and for 255."""
    pixels = np.zeros(IDS)
    pixels[: len(class_pixels)] = class_pixels
    return np.where(pixels > 0, pixels.sum() / np.maximum(pixels, 1), 0.0).astype(np.float32)


def cut_window(
    image: tf.Tensor, mask: tf.Tensor, draw: WindowDraw, epoch: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut the window of one place in the epoch; an image smaller than it stays as small.

    The whole image was decoded before: TensorFlow's partial JPEG decoding is faster, but its pixels at the window's
    edge are not those of the image.

    Args:
      image: uint8 (H, W, 3).
      mask: uint8 (H, W).
      draw: the window's size and what decides its place.
      epoch: int32 scalar.
      position: int32 scalar, place in the epoch.

    Returns:
      uint8 (min(h, H), min(w, W), 3) and uint8 (min(h, H), min(w, W)).
    """
    top, left = tf.unstack(window_corner(mask, draw, epoch, position))
    height, width = draw.size
    return image[top : top + height, left : left + width], mask[top : top + height, left : left + width]


def window_corner(mask: tf.Tensor, draw: WindowDraw, epoch: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """(top, left) of the window, int32 (2,)."""
    key = tf.random.fold_in(tf.stack([draw.seed, epoch]), position)
    draws = tf.random.stateless_uniform([5], key)  # for top, left, rare or not, class, pixel
    last = tf.maximum(tf.shape(mask) - tf.constant(draw.size), 0)
    low, high = tf.zeros(2, tf.int32), last
    if draw.rare_probability:
        low, high = tf.cond(
            draws[2] < draw.rare_probability,
            lambda: _corners_around(_rare_pixel(mask, draw.class_weights, draws[3:]), draw.size, last),
            lambda: (low, high),
        )
    corner = low + tf.cast(draws[:2] * tf.cast(high - low + 1, tf.float32), tf.int32)
    return tf.minimum(corner, high)  # float32 rounds 0.9999999 · n to n


def _corners_around(pixel: tf.Tensor, size: Size, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The least and the largest corner of windows that hold a pixel; all windows when the pixel is (−1, −1)."""
    low = tf.clip_by_value(pixel - tf.constant(size) + 1, 0, last)
    high = tf.minimum(pixel, last)
    return tf.where(pixel < 0, 0, low), tf.where(pixel < 0, last, high)


def _rare_pixel(mask: tf.Tensor, class_weights: np.ndarray, draws: tf.Tensor) -> tf.Tensor:
    """(row, column) of a pixel whose class was drawn by weight, int32 (2,); (−1, −1) when no class is there."""
    counts = tf.math.bincount(tf.cast(tf.reshape(mask, [-1]), tf.int32), minlength=IDS, maxlength=IDS)
    sums = tf.cumsum(tf.where(counts > 0, tf.constant(class_weights), 0.0))

    def drawn() -> tf.Tensor:
        # A little less than the sum, which float32 could otherwise reach: beyond it there is no class.
        class_id = tf.searchsorted(sums, draws[:1] * sums[-1] * (1.0 - 1e-6), side="right")[0]
        pixels = tf.where(mask == tf.cast(class_id, tf.uint8))
        index = tf.cast(draws[1] * tf.cast(tf.shape(pixels)[0], tf.float32), tf.int32)
        return tf.cast(pixels[tf.minimum(index, tf.shape(pixels)[0] - 1)], tf.int32)

    return tf.cond(sums[-1] > 0.0, drawn, lambda: tf.constant([-1, -1]))

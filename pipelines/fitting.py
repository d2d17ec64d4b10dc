"""How an image of any size meets the one size that a batch or a network has, and how predictions get back.

The rule is the same everywhere, from the builder's ``--resize`` to `model.predict`: the aspect ratio is
kept, the image is scaled to fit, and what remains of the canvas at the right and at the bottom is filled
(image black, mask 255). Predictions are cropped and scaled back.

Sizes are (height, width). TensorFlow is imported only where tensors are touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.taxonomy import IGNORE_ID

if TYPE_CHECKING:
    import tensorflow as tf

Size = tuple[int, int]


def content_size(size: Size, canvas: Size) -> Size:
    """The size of an image after it was scaled, aspect ratio kept, to fit into the canvas; at least 1×1."""
    height, width = size
    scale = min(canvas[0] / height, canvas[1] / width)
    return (
        min(canvas[0], max(1, round(height * scale))),
        min(canvas[1], max(1, round(width * scale))),
    )


def round_up(size: Size, stride: int) -> Size:
    """The smallest multiples of a network's stride that hold the size."""
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def fit(image: tf.Tensor, mask: tf.Tensor, size: Size, stride: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale one image and its mask to fit ``size`` and fill both up to multiples of the stride.

    Args:
      image: uint8 (H, W, 3).
      mask: uint8 (H, W).

    Returns:
      uint8 (h, w, 3) and uint8 (h, w) with (h, w) = round_up(size, stride).
    """
    import tensorflow as tf

    image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
    content = content_size_of(mask, size)
    same = tf.reduce_all(content == tf.shape(mask))
    image = tf.cond(same, lambda: image, lambda: _resize_image(image, content))
    mask = tf.cond(same, lambda: mask, lambda: _resize_mask(mask, content))
    return fill(image, round_up(size, stride), 0), fill(mask, round_up(size, stride), IGNORE_ID)


def content_size_of(mask: tf.Tensor, canvas: Size) -> tf.Tensor:
    """`content_size` as a tensor, int32 (2,), for a mask (…, H, W) whose size only the graph knows."""
    import tensorflow as tf

    size = tf.cast(tf.shape(mask)[-2:], tf.float64)
    limits = tf.constant(canvas, tf.float64)
    content = tf.round(size * tf.reduce_min(limits / size))  # to even, as Python's round does
    return tf.cast(tf.clip_by_value(content, tf.ones(2, tf.float64), limits), tf.int32)


def fill(tensor: tf.Tensor, canvas: Size, value: int) -> tf.Tensor:
    """Fill one image (H, W, 3) or mask (H, W) at the right and at the bottom up to the canvas."""
    import tensorflow as tf

    shape = tf.shape(tensor)
    paddings = [[0, canvas[0] - shape[0]], [0, canvas[1] - shape[1]], [0, 0]]
    filled = tf.pad(tensor, paddings[: tensor.shape.rank], constant_values=tf.cast(value, tensor.dtype))
    return tf.ensure_shape(filled, [*canvas, 3][: tensor.shape.rank])


def unfit(scores: tf.Tensor, content: Size | tf.Tensor, size: Size | tf.Tensor) -> tf.Tensor:
    """Class scores of a filled canvas, (B, h, w, C), to those of the images' own size, (B, H, W, C).

    Args:
      scores: float (B, h, w, C), logits or probabilities.
      content: the part of the canvas that holds the image.
      size: the image's own size; reached by bilinear interpolation.
    """
    import tensorflow as tf

    cropped = scores[:, : content[0], : content[1]]
    return tf.image.resize(cropped, size, method="bilinear")


def _resize_image(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    resized = tf.image.resize(image, size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def _resize_mask(mask: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.image.resize(mask[..., None], size, method="nearest")[..., 0]

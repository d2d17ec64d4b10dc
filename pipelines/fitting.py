"""How an image of any size meets the one size that a batch or a network has, and how predictions get back.

Three rules (``data.fit``); what remains of the canvas at the right and at the bottom is filled, the image
with black, the mask with 255:

    letterbox  scaled to fit, aspect ratio kept; the builder's ``--resize`` does the same
    stretch    scaled to the size exactly
    crop       never scaled: training sees windows of the canvas' size (pipelines/windows.py)

Every pixel is scored: evaluate and predict take the whole image, which under ``crop`` has a canvas of its own size,
and bring the scores back to the image's own pixels. Sizes are (height, width). TensorFlow is imported only where
tensors are touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from configs.taxonomy import IGNORE_ID

if TYPE_CHECKING:
    import tensorflow as tf

Size = tuple[int, int]
Rule = Literal["letterbox", "stretch", "crop"]


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


class Fitting(NamedTuple):
    """How images are fitted to a network."""

    size: Size
    """To which they are scaled; under ``crop``, of the windows."""
    stride: int
    """The network takes multiples of it."""
    rule: Rule = "letterbox"

    @property
    def canvas(self) -> Size:
        """The size rounded up to the stride: (height, width) of training images."""
        return round_up(self.size, self.stride)


def fit(image: tf.Tensor, mask: tf.Tensor, fitting: Fitting) -> tuple[tf.Tensor, tf.Tensor]:
    """Bring one whole image and its mask to the size that the rule says, and fill both up to the canvas.

    Args:
      image: uint8 (H, W, 3).
      mask: uint8 (H, W).

    Returns:
      uint8 (h, w, 3) and uint8 (h, w), with (h, w) the fitting's canvas, or (H, W) rounded up for ``crop``.
    """
    import tensorflow as tf

    image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
    if fitting.rule == "crop":
        canvas = -(-tf.shape(mask) // fitting.stride) * fitting.stride
        return fill(image, canvas, 0), fill(mask, canvas, IGNORE_ID)
    content = content_size_of(mask, fitting)
    image, mask = tf.cond(
        tf.reduce_all(content == tf.shape(mask)),
        lambda: (image, mask),
        lambda: (_resize_image(image, content), _resize_mask(mask, content)),
    )
    return fill(image, fitting.canvas, 0), fill(mask, fitting.canvas, IGNORE_ID)


def content_size_of(mask: tf.Tensor, fitting: Fitting) -> tf.Tensor:
    """The part of the canvas that `fit` gives to an image, int32 (2,), by a mask (…, H, W) of its own size."""
    import tensorflow as tf

    if fitting.rule == "crop":
        return tf.shape(mask)[-2:]
    if fitting.rule == "stretch":
        return tf.constant(fitting.size)
    size = tf.cast(tf.shape(mask)[-2:], tf.float64)
    limits = tf.constant(fitting.size, tf.float64)
    content = tf.round(size * tf.reduce_min(limits / size))  # to even, as Python's round does
    return tf.cast(tf.clip_by_value(content, tf.ones(2, tf.float64), limits), tf.int32)


def fill(tensor: tf.Tensor, canvas: Size | tf.Tensor, value: int) -> tf.Tensor:
    """Fill one image (H, W, 3) or mask (H, W) at the right and at the bottom up to the canvas."""
    import tensorflow as tf

    shape = tf.shape(tensor)
    paddings = [[0, canvas[0] - shape[0]], [0, canvas[1] - shape[1]], [0, 0]]
    filled = tf.pad(tensor, paddings[: tensor.shape.rank], constant_values=tf.cast(value, tensor.dtype))
    known = canvas if isinstance(canvas, tuple) else (None, None)
    return tf.ensure_shape(filled, [*known, 3][: tensor.shape.rank])


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

"""Our own operations: flips, grid mask, cut-mix, the 3×3 filters of the article's course, and one of several."""

from __future__ import annotations

import math

import tensorflow as tf
from pydantic import Field

from configs.taxonomy import IGNORE_ID
from pipelines.geometry import Size, pixel_grid
from pipelines.ops_base import Apply, Batch, Drawn, Operation, Operations, Range, Share, uniform
from pipelines.random_key import RandomKey


class FlipLeftRight(Operation):
    """x becomes w − 1 − x."""

    name = "flip_left_right"

    def build(self) -> Apply:
        """See `Operation.build`."""
        return lambda images, masks, drawn: (tf.reverse(images, [2]), tf.reverse(masks, [2]))


class FlipUpDown(Operation):
    """y becomes h − 1 − y."""

    name = "flip_up_down"

    def build(self) -> Apply:
        """See `Operation.build`."""
        return lambda images, masks, drawn: (tf.reverse(images, [1]), tf.reverse(masks, [1]))


class GridMask(Operation):
    """Hides a grid of squares (Chen et al., arXiv 2001.04086), unturned."""

    name = "grid_mask"
    unit: Range = (0.15, 0.35)
    """Distance of the squares, as a share of the image's height."""
    ratio: Share = (0.3, 0.5)
    """Side of the squares, as a share of their distance."""

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """Distance and side in pixels, and where the grid starts."""
        unit = tf.maximum(uniform(key, batch, self.unit, 1) * size[0], 2.0)
        start = (key.uniform((batch, 2), 3) + 1.0) / 2.0 * unit[:, None]
        return {"unit": unit, "side": unit * uniform(key, batch, self.ratio, 2), "start": start}

    def build(self) -> Apply:
        """See `Operation.build`."""

        def hide(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            unit, side = (drawn.values[name][:, None, None] for name in ("unit", "side"))
            start = drawn.values["start"][:, None, None]
            x, y = pixel_grid(tuple(masks.shape[1:]))
            hidden = ((x + start[..., 0]) % unit < side) & ((y + start[..., 1]) % unit < side)
            return tf.where(hidden[..., None], 0.0, images), tf.where(hidden, tf.constant(IGNORE_ID, tf.uint8), masks)

        return hide


class CutMix(Operation):
    """Puts a rectangle of another image of the replica's batch, with its mask, in the same place (arXiv 1905.04899)."""

    name = "cut_mix"
    area: Share = (0.1, 0.4)
    """Of the rectangle, as a share of the image; its aspect ratio is the image's."""

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The rectangle, and how many places further in the batch the other image stands (0 in a batch of one)."""
        side = tf.sqrt(uniform(key, batch, self.area, 1))
        corner = (key.uniform((batch, 2), 2) + 1.0) / 2.0 * (1.0 - side[:, None]) * tf.constant(size, tf.float32)
        others = tf.cast(batch - 1, tf.float32)
        further = 1.0 + tf.floor((key.uniform((batch,), 3) + 1.0) / 2.0 * others)
        return {"side": side, "corner": corner, "further": tf.cast(tf.minimum(further, others), tf.int32)}

    def prepare(self) -> Apply:
        """The whole batch is needed, for the others are in it."""

        def mix(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            size = tuple(masks.shape[1:])
            low = drawn.values["corner"]
            high = low + drawn.values["side"][:, None] * tf.constant(size, tf.float32)
            x, y = pixel_grid(size)
            (top, left), (bottom, right) = (tf.unstack(edge[..., None, None], axis=1) for edge in (low, high))
            inside = (x >= left) & (x < right) & (y >= top) & (y < bottom) & drawn.hit[:, None, None]
            batch = tf.shape(images)[0]
            other = (tf.range(batch) + drawn.values["further"]) % batch
            return (
                tf.where(inside[..., None], tf.gather(images, other), images),
                tf.where(inside, tf.gather(masks, other), masks),
            )

        return mix


class Filter(Operation):
    """A 3×3 kernel: (1 − alpha) · identity + alpha · effect, correlated, border reflected without the edge itself."""

    alpha: float = Field(default=1.0, ge=0.0, le=1.0)

    def effect(self) -> list[list[float]]:
        """The kernel at alpha 1."""
        raise NotImplementedError

    def kernel(self) -> tf.Tensor:
        """float32 (3, 3)."""
        identity = tf.constant([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        return (1.0 - self.alpha) * identity + self.alpha * tf.constant(self.effect(), tf.float32)

    def build(self) -> Apply:
        """See `Operation.build`."""

        def correlate(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="REFLECT")
            kernel = tf.tile(self.kernel()[:, :, None, None], [1, 1, 3, 1])
            return tf.nn.depthwise_conv2d(padded, kernel, strides=[1, 1, 1, 1], padding="VALID"), masks

        return correlate


class Emboss(Filter):
    """Light from the top left."""

    name = "emboss"
    strength: float = Field(default=1.0, ge=0.0)

    def effect(self) -> list[list[float]]:
        """Falls off from −1 − strength at the top left to 1 + strength at the bottom right."""
        s = self.strength
        return [[-1.0 - s, -s, 0.0], [-s, 1.0, s], [0.0, s, 1.0 + s]]


class DirectedEdgeDetect(Filter):
    """Edges across one direction stay."""

    name = "directed_edge_detect"
    alpha: float = Field(default=0.8, ge=0.0, le=1.0)
    direction: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of a full turn, clockwise from above: 0 and 1 look up, 0.25 to the right."""

    def effect(self) -> list[list[float]]:
        """Neighbours weigh −(1 − angle to the direction / 180°)⁴, together −1."""
        turn = self.direction * 2.0 * math.pi
        weights = [[0.0] * 3 for _ in range(3)]
        for row, column in ((r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)):
            away = abs(math.remainder(math.atan2(column - 1, 1 - row) - turn, 2.0 * math.pi))
            weights[row][column] = -((1.0 - away / math.pi) ** 4)
        total = -sum(map(sum, weights))
        kernel = [[weight / total for weight in row] for row in weights]
        kernel[1][1] = 1.0
        return kernel


class Sharpen(Filter):
    """Each pixel against its eight neighbours."""

    name = "sharpen"
    lightness: float = Field(default=1.5, ge=0.0)

    def effect(self) -> list[list[float]]:
        """−1 around 8 + lightness."""
        return [[-1.0, -1.0, -1.0], [-1.0, 8.0 + self.lightness, -1.0], [-1.0, -1.0, -1.0]]


class OneOf(Operation):
    """Exactly one of several operations for each image, all equally likely."""

    name = "one_of"
    ops: Operations = Field(min_length=2)

    def draw(self, batch: tf.Tensor, size: Size, key: RandomKey) -> Drawn:
        """Each operation draws for all images; its hits are those images that fall to it."""
        own = key.chance(batch, self.probability, purpose=0)
        count = len(self.ops)
        share = (key.uniform((batch,), purpose=1) + 1.0) / 2.0 * count
        chosen = tf.minimum(tf.cast(share, tf.int32), count - 1)
        drawn = [operation.draw(batch, size, key.within(place)) for place, operation in enumerate(self.ops)]
        children = (one._replace(hit=one.hit & own & (chosen == place)) for place, one in enumerate(drawn))
        return Drawn(own, {}, tuple(children))

    def prepare(self) -> Apply:
        """One operation after the other; no image is hit twice."""
        parts = [operation.prepare() for operation in self.ops]

        def apply(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            for part, child in zip(parts, drawn.children, strict=True):
                images, masks = part(images, masks, child)
            return images, masks

        return apply

"""keras-cv's layers as operations: the half of a layer that applies what was drawn.

A layer of keras-cv is two functions, one that draws and one that changes an image as it was drawn. The first
draws from generators with a state, the same on all replicas; so the draws are ours, and only the second is called.
"""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf
from pydantic import Field, field_validator

from configs.taxonomy import IGNORE_ID
from pipelines.geometry import Size
from pipelines.ops_base import NOT_PROVEN, Apply, Batch, Drawn, Operation, Range, Share, uniform
from pipelines.random_key import RandomKey

_FUSED = "the option augment.{}, which is part of the one resampling"
_COLOR = "the option augment.{}, which is part of the one colour matrix"
NOT_PROVEN |= {
    "keras_cv/CutMix": "cut_mix",
    "keras_cv/GridMask": "grid_mask",
    "keras_cv/MixUp": "cut_mix (class ids cannot be mixed)",
    "keras_cv/Mosaic": "cut_mix",
    "keras_cv/RandAugment": "one_of with the operations that you want",
    "keras_cv/AugMix": "one_of with the operations that you want",
    "keras_cv/RandomChoice": "one_of",
    "keras_cv/RandomApply": "the parameter probability, which each operation has",
    "keras_cv/RandomRotation": _FUSED.format("rotate"),
    "keras_cv/RandomZoom": _FUSED.format("scale"),
    "keras_cv/RandomShear": _FUSED.format("shear"),
    "keras_cv/RandomTranslation": _FUSED.format("translate"),
    "keras_cv/RandomCrop": _FUSED.format("crop"),
    "keras_cv/RandomCropAndResize": _FUSED.format("scale"),
    "keras_cv/RandomBrightness": _COLOR.format("brightness"),
    "keras_cv/RandomContrast": _COLOR.format("contrast"),
    "keras_cv/RandomSaturation": _COLOR.format("saturation"),
    "keras_cv/RandomHue": _COLOR.format("hue"),
    "keras_cv/RandomColorJitter": _COLOR.format("brightness, contrast, saturation and hue"),
    "keras_cv/Equalization": "tfa/equalize, or keras_cv/AutoContrast",
}


def _keras_cv(layer: str, **parameters: Any) -> Any:
    """A layer of keras-cv. It makes a generator, which nothing here draws from, so this must be outside any graph."""
    import keras_cv

    return getattr(keras_cv.layers, layer)(**parameters, dtype="float32")


class CvCutout(Operation):
    """Hides a rectangle.

    The layer bounds the rectangle's width by the image's *height*; drawn here, it may be as wide as the image.
    """

    name = "keras_cv/RandomCutout"
    height_factor: Share
    """Of the rectangle, as a share of the image's height."""
    width_factor: Share
    """As a share of its width."""
    fill_value: float = Field(default=0.0, ge=0.0, le=255.0)

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """Centre anywhere in the image, and size, in pixels."""
        values = {}
        for purpose, (side, axis, bounds, whole) in enumerate(
            (("height", "y", self.height_factor, size[0]), ("width", "x", self.width_factor, size[1]))
        ):
            centre = (key.uniform((batch,), 1 + purpose) + 1.0) / 2.0 * whole
            values[axis] = tf.floor(centre)
            values[side] = tf.math.ceil(uniform(key, batch, bounds, 3 + purpose) * whole)
        return values

    def build(self) -> Apply:
        """See `Operation.build`."""
        hide, ignore = (
            _keras_cv("RandomCutout", height_factor=1.0, width_factor=1.0, fill_value=float(value))
            for value in (self.fill_value, IGNORE_ID)
        )

        def cut(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            values = drawn.values
            rectangles = {
                "centers_x": values["x"],
                "centers_y": values["y"],
                "rectangles_height": values["height"],
                "rectangles_width": values["width"],
            }
            ids = ignore.augment_images(tf.cast(masks[..., None], tf.float32), rectangles)
            return hide.augment_images(images, rectangles), tf.cast(ids[..., 0], tf.uint8)

        return cut


class CvGaussianBlur(Operation):
    """Blur by a Gaussian. The layer takes what lies outside as black; here the border is reflected first."""

    name = "keras_cv/RandomGaussianBlur"
    kernel_size: int = Field(default=5, ge=3, le=31)
    """In pixels, odd."""
    factor: Range
    """Standard deviation in pixels."""

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("expected an odd size, so that the kernel has a centre")
        return value

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The standard deviation."""
        return {"factor": tf.maximum(uniform(key, batch, self.factor, 1), 1e-3)}

    def build(self) -> Apply:
        """See `Operation.build`."""
        layer, edge = _keras_cv("RandomGaussianBlur", kernel_size=self.kernel_size, factor=1.0), self.kernel_size // 2

        def blur_one(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            weights = layer.get_kernel(given[1], self.kernel_size)
            down, across = weights[:, None, None, None], weights[None, :, None, None]
            return layer.augment_image(given[0], transformation=(down, across))

        def blur(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            padded = tf.pad(images, [[0, 0], [edge, edge], [edge, edge], [0, 0]], mode="REFLECT")
            blurred = tf.map_fn(blur_one, (padded, drawn.values["factor"]), fn_output_signature=tf.float32)
            return tf.ensure_shape(blurred[:, edge:-edge, edge:-edge], images.shape), masks

        return blur


class CvFactor(Operation):
    """Layers that blend an image with a changed one by a factor in 0..1."""

    layer: ClassVar[str]
    parameters: ClassVar[dict[str, Any]] = {}
    factor: Share

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The factor."""
        return {"factor": uniform(key, batch, self.factor, 1)}

    def build(self) -> Apply:
        """See `Operation.build`."""
        layer = _keras_cv(self.layer, factor=1.0, **self.parameters)

        def blend(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            return layer.augment_images(images, transformations=drawn.values["factor"][:, None, None, None]), masks

        return blend


class CvSharpness(CvFactor):
    """Towards the image smoothed by 3×3: 0 changes nothing. (The layer's name promises the opposite.)"""

    name = "keras_cv/RandomSharpness"
    layer = "RandomSharpness"
    parameters: ClassVar[dict[str, Any]] = {"value_range": (0, 255)}


class CvColorDegeneration(CvFactor):
    """Towards grey."""

    name = "keras_cv/RandomColorDegeneration"
    layer = "RandomColorDegeneration"


class CvChannelShift(Operation):
    """Adds to each channel up to half the factor of 255, either way."""

    name = "keras_cv/RandomChannelShift"
    factor: Share

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The shift of R, G and B, as a share of 255."""
        strength = tf.stack([uniform(key, batch, self.factor, 1 + channel) for channel in range(3)], axis=-1)
        return {"shift": 0.5 * strength * tf.where(key.uniform((batch, 3), 4) < 0.0, -1.0, 1.0)}

    def build(self) -> Apply:
        """See `Operation.build`."""
        layer = _keras_cv("RandomChannelShift", value_range=(0, 255), factor=1.0)

        def shift(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            shifts = tf.unstack(drawn.values["shift"][:, None, None, :], axis=-1)
            return layer.augment_image(images, transformation=shifts), masks

        return shift


class CvFlip(Operation):
    """Flips, each way that the mode allows with the rate."""

    name = "keras_cv/RandomFlip"
    mode: str = Field(default="horizontal", pattern="^(horizontal|vertical|horizontal_and_vertical)$")
    rate: float = Field(default=0.5, ge=0.0, le=1.0)

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """1 where an image is flipped that way, else 0."""
        return {
            way: tf.cast(key.chance(batch, self.rate if way in self.mode else 0.0, purpose), tf.float32)
            for purpose, way in ((1, "horizontal"), (2, "vertical"))
        }

    def build(self) -> Apply:
        """See `Operation.build`."""
        layer = _keras_cv("RandomFlip", mode="horizontal_and_vertical", rate=0.5)

        def flip(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            ways = {f"flip_{way}s": drawn.values[way][:, None] for way in ("horizontal", "vertical")}
            return (
                layer.augment_images(images, transformations=ways),
                layer.augment_segmentation_masks(masks[..., None], transformations=ways)[..., 0],
            )

        return flip


class CvAutoContrast(Operation):
    """Stretches each channel to 0..255."""

    name = "keras_cv/AutoContrast"

    def build(self) -> Apply:
        """See `Operation.build`."""
        layer = _keras_cv("AutoContrast", value_range=(0, 255))
        return lambda images, masks, drawn: (layer.augment_images(images, transformations=None), masks)

"""Image functions of tensorflow-addons as operations; `pipelines.addons` says how they are reached."""

from __future__ import annotations

from typing import Annotated, ClassVar

import tensorflow as tf
from pydantic import Field, model_validator

from pipelines import addons
from pipelines.geometry import Size, elastic_field, nearest_mask, pixel_grid
from pipelines.ops_base import NOT_PROVEN, Apply, Batch, Drawn, Operation, Range, Share, uniform
from pipelines.random_key import RandomKey

NOT_PROVEN |= {
    "tfa/dense_image_warp": "tfa/elastic",
    "tfa/rotate": "the option augment.rotate",
    "tfa/shear_x": "the option augment.shear",
    "tfa/translate": "the option augment.translate",
    "tfa/random_cutout": "keras_cv/RandomCutout",
    "tfa/random_hsv_in_yiq": "the options augment.hue, saturation and brightness",
    "tfa/mean_filter2d": "tfa/gaussian_filter2d",
    "tfa/median_filter2d": "tfa/gaussian_filter2d",
}


class Addon(Operation):
    """Functions of tensorflow-addons' image half."""

    instead: ClassVar[str]
    """The operation to use where tensorflow-addons cannot be installed."""

    @model_validator(mode="after")
    def _installed(self) -> Addon:
        if not addons.installed():
            raise ValueError(
                f"{self.name} needs tensorflow-addons, which is not installed and has no release for Python 3.12 "
                f"and later; use {self.instead}"
            )
        return self


class TfaSharpness(Addon):
    """Between smoothed (0), unchanged (1) and sharper (above 1); levels are rounded."""

    name = "tfa/sharpness"
    instead = "sharpen, or keras_cv/RandomSharpness to smooth"
    factor: Range = (1.0, 2.5)

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The factor."""
        return {"factor": uniform(key, batch, self.factor, 1)}

    def build(self) -> Apply:
        """See `Operation.build`."""
        sharpness = addons.image_module("color_ops").sharpness

        def sharpen(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            given = images, drawn.values["factor"]
            return tf.map_fn(lambda one: sharpness(*one), given, fn_output_signature=tf.float32), masks

        return sharpen


class TfaEqualize(Addon):
    """Histogram of each channel made even; levels are rounded."""

    name = "tfa/equalize"
    instead = "keras_cv/AutoContrast"

    def build(self) -> Apply:
        """See `Operation.build`."""
        equalize = addons.image_module("color_ops").equalize
        return lambda images, masks, drawn: (equalize(tf.round(images)), masks)


class TfaGaussianFilter(Addon):
    """Gaussian blur; the function takes one standard deviation for all."""

    name = "tfa/gaussian_filter2d"
    instead = "keras_cv/RandomGaussianBlur"
    filter_shape: int = Field(default=5, ge=3, le=31)
    sigma: float = Field(default=1.0, gt=0.0)

    def build(self) -> Apply:
        """See `Operation.build`."""
        blur = addons.image_module("filters").gaussian_filter2d
        return lambda images, masks, drawn: (blur(images, self.filter_shape, self.sigma), masks)


class TfaElastic(Addon):
    """``dense_image_warp`` by a low-resolution field, the mask by nearest with the same field.

    What is moved in from beyond an edge is the edge's own pixel, in image and mask.
    """

    name = "tfa/elastic"
    instead = "the option augment.elastic"
    amplitude: Share = (0.0, 0.04)
    """Largest displacement, as a share of the image's height."""
    grid: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=2)]] = (4, 6)
    """Points of the field, down and across."""

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """The amplitude in pixels and the field."""
        return {
            "amplitude": uniform(key, batch, self.amplitude, 1) * size[0],
            "field": key.uniform((batch, *self.grid, 2), 2),
        }

    def build(self) -> Apply:
        """See `Operation.build`."""
        warp = addons.image_module("dense_image_warp").dense_image_warp

        def elastic(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
            size = tuple(masks.shape[1:])
            field = elastic_field(drawn.values["field"], drawn.values["amplitude"], size)
            x, y = pixel_grid(size)
            # The function subtracts its flow, which is (y, x).
            warped = warp(images, -tf.reverse(field, [-1]))
            return warped, nearest_mask(masks, x + field[..., 0], y + field[..., 1])

        return elastic

"""The pre-activation ResNets that UNET's encoder is made of, with the layer names of image-classifiers 1.0.

Input is RGB 0..255: the first layer, ``bn_data``, normalises. Weight-holding layers, their names and their order are
image-classifiers', so that its files load; its explicit zero padding is left to the convolutions of stride 1.

Reference: He et al., "Identity mappings in deep residual networks", ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Literal, NamedTuple, TypeAlias

import keras
from keras import layers

from model.normalization import BatchNormalization
from model.precision import full

UNITS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
BOTTLENECKS = ("resnet50", "resnet101")
"""Their units are 1×1, 3×3, 1×1 with four times the filters at the end; those of the others two 3×3."""
FILTERS = (64, 128, 256, 512)
FEATURES = ("stage4_unit1_relu1", "stage3_unit1_relu1", "stage2_unit1_relu1", "relu0")
"""Layers at 1/16, 1/8, 1/4 and 1/2 of the image's size, each the last there."""
STRIDE = 32

Tensor: TypeAlias = keras.KerasTensor


class Normalization(NamedTuple):
    """How activations are normalised.

    ``batch`` over the batch, or over all replicas' batches, with moving statistics of a momentum; ``group`` over
    groups of an image's own channels (Wu and He, 2018), for batches too small to have statistics.
    """

    momentum: float = 0.99
    synchronized: bool = False
    kind: Literal["batch", "group"] = "batch"

    def __call__(
        self, name: str, epsilon: float = 2e-5, scale: bool = True, dtype: str | None = None
    ) -> Callable[[Tensor], Tensor]:
        """A normalisation layer; the name is the library's, whatever the kind."""
        if self.kind == "group":
            return lambda x: layers.GroupNormalization(
                groups=gcd(32, max(x.shape[-1] // 2, 1)), epsilon=epsilon, scale=scale, name=name, dtype=dtype
            )(x)
        return BatchNormalization(
            momentum=self.momentum,
            epsilon=epsilon,
            scale=scale,
            synchronized=self.synchronized,
            name=name,
            dtype=dtype,
        )


def resnet(backbone: str, image: Tensor, normalization: Normalization, output_stride: int = STRIDE) -> keras.Model:
    """A ResNet without its top, over an image tensor (B, H, W, channels), H and W multiples of its stride.

    With an ``output_stride`` of 8 or 16 no map is smaller than that part of the image: later stages keep the
    size, and from their first strided convolution on all read every second, or fourth, pixel instead.

    Its output is 1/32 of the image's size with 512 channels, or 2048; `FEATURES` are the larger ones.

    Raises:
      ValueError: the backbone is unknown.
    """
    if backbone not in UNITS:
        raise ValueError(f"backbone '{backbone}' is unknown; there are {', '.join(UNITS)}")
    unit = _bottleneck_unit if backbone in BOTTLENECKS else _unit
    x = normalization("bn_data", scale=False, dtype=full())(image)
    x = layers.ZeroPadding2D(3, name="conv0_pad")(x)
    x = _convolution("conv0", 64, 7, strides=2)(x)  # (B, H/2, W/2, 64)
    x = normalization("bn0")(x)
    x = layers.Activation("relu", name="relu0")(x)
    x = layers.ZeroPadding2D(1, name="pooling0_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pooling0")(x)  # (B, H/4, W/4, 64)
    for stage, (units, filters, step) in enumerate(zip(UNITS[backbone], FILTERS, _steps(output_stride)), start=1):
        x = unit(x, f"stage{stage}_unit1_", filters, step, True, normalization)
        for number in range(2, units + 1):
            x = unit(x, f"stage{stage}_unit{number}_", filters, step.inside(), False, normalization)
    x = normalization("bn1")(x)
    x = layers.Activation("relu", name="relu1")(x)  # (B, H/32, W/32, 512 or 2048)
    return keras.Model(image, x, name=backbone)


class Step(NamedTuple):
    """How a unit steps over its input: stride and dilation of its strided convolution, dilation of the later one."""

    strides: int = 1
    dilation: int = 1
    later_dilation: int = 1

    def inside(self) -> Step:
        """The step of the stage's other units."""
        return Step(1, self.later_dilation, self.later_dilation)


def _steps(output_stride: int) -> list[Step]:
    """The first units' steps of the four stages: once the output stride is reached, strides become dilations."""
    steps, stride, dilation = [Step()], 4, 1
    while len(steps) < len(FILTERS):
        if stride < output_stride:
            steps.append(Step(2, dilation, dilation))
            stride *= 2
        else:
            steps.append(Step(1, dilation, 2 * dilation))
            dilation *= 2
    return steps


def _unit(x: Tensor, name: str, filters: int, step: Step, project: bool, normalization: Normalization) -> Tensor:
    """Two 3×3 convolutions beside a shortcut: the input itself, or a projection of its first activation."""
    activated = _activation(x, name, 1, normalization)
    shortcut = _convolution(name + "sc", filters, 1, strides=step.strides)(activated) if project else x
    x = _padded_convolution(activated, name + "conv1", filters, step.strides, step.dilation)
    x = _activation(x, name, 2, normalization)
    x = _padded_convolution(x, name + "conv2", filters, 1, step.later_dilation)
    return layers.Add(name=name + "add")([x, shortcut])


def _bottleneck_unit(
    x: Tensor, name: str, filters: int, step: Step, project: bool, normalization: Normalization
) -> Tensor:
    """1×1, 3×3 and 1×1 convolutions beside a shortcut; the stride is in the 3×3."""
    activated = _activation(x, name, 1, normalization)
    shortcut = _convolution(name + "sc", 4 * filters, 1, strides=step.strides)(activated) if project else x
    x = _convolution(name + "conv1", filters, 1)(activated)
    x = _activation(x, name, 2, normalization)
    x = _padded_convolution(x, name + "conv2", filters, step.strides, step.dilation)
    x = _activation(x, name, 3, normalization)
    x = _convolution(name + "conv3", 4 * filters, 1)(x)
    return layers.Add(name=name + "add")([x, shortcut])


def _activation(x: Tensor, name: str, number: int, normalization: Normalization) -> Tensor:
    x = normalization(f"{name}bn{number}")(x)
    return layers.Activation("relu", name=f"{name}relu{number}")(x)


def _padded_convolution(x: Tensor, name: str, filters: int, strides: int, dilation: int) -> Tensor:
    """3×3 with its reach of padding on all sides; only with stride 2 does TensorFlow's "same" pad otherwise."""
    if strides == 1:
        return _convolution(name, filters, 3, padding="same", dilation=dilation)(x)
    x = layers.ZeroPadding2D(1, name=name + "_pad")(x)
    return _convolution(name, filters, 3, strides=strides)(x)


def _convolution(
    name: str, filters: int, kernel: int, strides: int = 1, padding: str = "valid", dilation: int = 1
) -> layers.Layer:
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer="he_uniform",
        name=name,
    )

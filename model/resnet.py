"""The pre-activation ResNets that UNET's encoder is made of, with the layer names of image-classifiers 1.0.

Input is RGB 0..255: the first layer, ``bn_data``, normalises. Feature maps are named by their stride.

Reference: He et al., "Identity mappings in deep residual networks", ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import layers

UNITS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
FILTERS = (64, 128, 256, 512)
STRIDE = 32


class Normalization(NamedTuple):
    """How batch normalisation is done: momentum of its moving statistics, statistics over all replicas or not."""

    momentum: float = 0.99
    synchronized: bool = False

    def __call__(self, name: str, epsilon: float = 2e-5, scale: bool = True) -> layers.Layer:
        """A batch normalisation layer."""
        return layers.BatchNormalization(
            momentum=self.momentum, epsilon=epsilon, scale=scale, synchronized=self.synchronized, name=name
        )


class Features(NamedTuple):
    """Feature maps of an encoder; the number is the stride: at(32) is 1/32 of the image's height."""

    at2: keras.KerasTensor
    at4: keras.KerasTensor
    at8: keras.KerasTensor
    at16: keras.KerasTensor
    at32: keras.KerasTensor


def resnet_features(backbone: str, image: keras.KerasTensor, normalization: Normalization) -> Features:
    """The feature maps of a ResNet over an image tensor (B, H, W, 3), H and W multiples of 32.

    Raises:
      ValueError: the backbone is unknown.
    """
    if backbone not in UNITS:
        raise ValueError(f"backbone '{backbone}' is unknown; there are {', '.join(UNITS)}")
    x = normalization("bn_data", scale=False)(image)
    x = layers.ZeroPadding2D(3, name="conv0_pad")(x)
    x = _convolution("conv0", 64, 7, strides=2)(x)  # (B, H/2, W/2, 64)
    x = normalization("bn0")(x)
    at2 = x = layers.Activation("relu", name="relu0")(x)
    x = layers.ZeroPadding2D(1, name="pooling0_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pooling0")(x)  # (B, H/4, W/4, 64)
    skips = {}
    for stage, (units, filters) in enumerate(zip(UNITS[backbone], FILTERS, strict=True), start=1):
        for unit in range(1, units + 1):
            x, activated = _unit(x, f"stage{stage}_unit{unit}_", filters, stage, unit, normalization)
            if unit == 1:
                skips[stage] = activated  # before the unit's stride: (B, H/2^stage…)
    x = normalization("bn1")(x)
    x = layers.Activation("relu", name="relu1")(x)  # (B, H/32, W/32, 512)
    return Features(at2=at2, at4=skips[2], at8=skips[3], at16=skips[4], at32=x)


def _unit(
    x: keras.KerasTensor, name: str, filters: int, stage: int, unit: int, normalization: Normalization
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """One residual unit; also returns its first activation, which is what UNET's skips take."""
    strides = 2 if unit == 1 and stage > 1 else 1
    shortcut = x
    x = normalization(name + "bn1")(x)
    activated = x = layers.Activation("relu", name=name + "relu1")(x)
    if unit == 1:
        shortcut = _convolution(name + "sc", filters, 1, strides=strides)(activated)
    x = _padded_convolution(name + "conv1", filters, strides)(x)
    x = normalization(name + "bn2")(x)
    x = layers.Activation("relu", name=name + "relu2")(x)
    x = _padded_convolution(name + "conv2", filters, 1)(x)
    return layers.Add(name=name + "add")([x, shortcut]), activated


def _padded_convolution(name: str, filters: int, strides: int) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    """3×3 with one pixel of padding on all sides; only with stride 2 does TensorFlow's "same" pad otherwise."""
    if strides == 1:
        return _convolution(name, filters, 3, padding="same")
    pad, convolution = layers.ZeroPadding2D(1, name=name + "_pad"), _convolution(name, filters, 3, strides=strides)
    return lambda x: convolution(pad(x))


def _convolution(name: str, filters: int, kernel: int, strides: int = 1, padding: str = "valid") -> layers.Layer:
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_uniform",
        name=name,
    )

"""Dilated ResNets: encoders whose last two stages keep the size of the second, 1/8 of the image.

A stage that would halve the size keeps it, and its convolutions read every second pixel instead (every
fourth in the last stage). A dilated encoder so has the weights of the plain one, and where the plain one
has a value at all it computes the same.

- ``resnet50``, ``resnet101``: post-activation, with the layer names of Keras Applications, whose weight
  files load here. Input is RGB 0..255; the first two layers do what Applications' preprocessing does.
- ``resnet34``: pre-activation, `model.resnet`'s own.

References: He et al., "Deep residual learning for image recognition", CVPR 2016; Yu et al., "Dilated
residual networks", CVPR 2017.
"""

from __future__ import annotations

import keras
from keras import KerasTensor, layers

from model.downloads import Source
from model.precision import full
from model.resnet import Normalization, resnet

BOTTLENECKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
BACKBONES = ("resnet34", *BOTTLENECKS)
STRIDE = 8
PLAN = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))
"""Of the four stages: filters, stride and dilation. The plain ResNet has stride 2 in the last two as well."""
EPSILON = 1.001e-5
IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""Of the red, green and blue channels, 0..255; Applications' "caffe" preprocessing subtracts it."""


def dilated_resnet(backbone: str, image: KerasTensor, normalization: Normalization) -> keras.Model:
    """A dilated ResNet without its top, over an image tensor (B, H, W, 3), H and W multiples of 8.

    Its outputs are what CANET takes: the first stage at 1/4 of the image's size, the third and the fourth at
    1/8, with 256, 1024 and 2048 channels, or 64, 256 and 512 for ``resnet34``.

    Raises:
      ValueError: the backbone is unknown.
    """
    if backbone in BOTTLENECKS:
        return _bottleneck_resnet(backbone, image, normalization)
    if backbone == "resnet34":
        encoder = resnet(backbone, image, normalization, output_stride=STRIDE)
        stages = [encoder.get_layer(name).output for name in ("stage2_unit1_relu1", "stage4_unit1_relu1")]
        return keras.Model(image, [*stages, encoder.output], name=backbone)
    raise ValueError(f"backbone '{backbone}' is unknown; there are {', '.join(BACKBONES)}")


def weights_source(backbone: str) -> Source:
    """Whose ImageNet weights a backbone has."""
    return "keras_applications" if backbone in BOTTLENECKS else "image_classifiers"


def _bottleneck_resnet(backbone: str, image: KerasTensor, normalization: Normalization) -> keras.Model:
    """Applications' ResNet v1 without its top, dilated from the third stage on."""
    x = layers.Rescaling(1.0, offset=[-mean for mean in IMAGENET_MEAN], name="imagenet_mean", dtype=full())(image)
    x = keras.ops.flip(x, axis=-1)  # Applications' weights read blue, green, red
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, name="conv1_conv")(x)  # (B, H/2, W/2, 64)
    x = normalization("conv1_bn", EPSILON)(x)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)  # (B, H/4, W/4, 64)
    stages = []
    for number, (blocks, (filters, strides, dilation)) in enumerate(zip(BOTTLENECKS[backbone], PLAN), start=2):
        x = _bottleneck(x, f"conv{number}_block1", filters, strides, dilation, True, normalization)
        for block in range(2, blocks + 1):
            x = _bottleneck(x, f"conv{number}_block{block}", filters, 1, dilation, False, normalization)
        stages.append(x)  # (B, H/4, W/4, 256), then 1/8: 512, 1024, 2048
    return keras.Model(image, [stages[0], *stages[2:]], name=backbone)


def _bottleneck(
    x: KerasTensor, name: str, filters: int, strides: int, dilation: int, project: bool, normalization: Normalization
) -> KerasTensor:
    """1×1, 3×3 and 1×1 beside the input, or where the shape changes a 1×1 of it. The stride is in the first 1×1."""

    def normalized_convolution(x: KerasTensor, part: int, filters: int, kernel: int, **options: int) -> KerasTensor:
        x = layers.Conv2D(filters, kernel, padding="same", name=f"{name}_{part}_conv", **options)(x)
        return normalization(f"{name}_{part}_bn", EPSILON)(x)

    shortcut = normalized_convolution(x, 0, 4 * filters, 1, strides=strides) if project else x
    x = normalized_convolution(x, 1, filters, 1, strides=strides)
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = normalized_convolution(x, 2, filters, 3, dilation_rate=dilation)
    x = layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = normalized_convolution(x, 3, 4 * filters, 1)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)

"""CANET, the Chained Context Aggregation network: a dilated ResNet, context in a chain of scales, a light decoder.

Input is RGB 0..255 with height and width multiples of 8. The average poolings of the context flows, by up to
16 at 1/8 of the image, take what there is of a window that reaches over the edge, so that images need not be
multiples of 128; at such multiples nothing differs from plain pooling.

Where the paper and its author's code (BebDong/MXNetSeg, canetv1) leave a choice: a rectifier follows both
normalisations of a separable convolution, and bilinear resizing has half-pixel centres.

Reference: Tang et al., "Attention-guided chained context aggregation for semantic segmentation", 2021,
arXiv 2002.12041.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import keras
from keras import KerasTensor, layers

from model.canet_compact import compact_logits
from model.dilated import BACKBONES, STRIDE, dilated_resnet, weights_source
from model.downloads import encoder_weights_path
from model.enlarging import Enlarge, EnlargeLike, SpreadLike
from model.precision import full
from model.resnet import Normalization
from model.unet import freeze
from model.weights import load_encoder

COMPACT = "compact"
POOLINGS = (2, 4, 8, 16)
FLOW_FILTERS, FILTERS, LOW_LEVEL_FILTERS = 512, 256, 48
DROPOUT = 0.1


def CANet(  # noqa: N802 - a network's name, as Unet
    backbone_name: str = "resnet50",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    classes: int = 21,
    activation: str = "softmax",
    encoder_weights: str | Path | None = None,
    encoder_freeze: bool = False,
    auxiliary: bool = False,
    *,
    normalization: Literal["batch", "group"] = "batch",
    bn_momentum: float = 0.99,
    bn_synchronized: bool = False,
) -> keras.Model:
    """Build the network.

    Args:
      backbone_name: ``resnet34``, ``resnet50`` or ``resnet101`` for the published form; ``compact`` for the
        small network of `model.canet_compact`, which has an encoder of its own.
      input_shape: (height, width, 3), multiples of 8 or None.
      classes: number of channels of the output.
      activation: of the outputs, ``sigmoid``, ``softmax`` or ``linear``; the last layer bears its name.
      encoder_weights: None, ``imagenet``, or the path of a weight file whose layers are matched by name:
        Keras Applications' for resnet50 and resnet101, the segmentation_models library's for resnet34.
      encoder_freeze: train nothing of the encoder but its normalisation.
      auxiliary: give a second output, of a head on the third stage that helps to train the encoder; the
        compact form has none.
      normalization: ``batch`` or ``group``.
      bn_momentum: of the moving statistics; small data wants 0.9.
      bn_synchronized: take batch statistics over all replicas of a distribution strategy.

    Returns:
      A model from (B, H, W, 3), RGB 0..255, to (B, H, W, classes), or to a list of two such tensors, the
      main one first. `model.outputs.logits_model` is without the second.

    Raises:
      ValueError: unknown backbone, a size that is not a multiple of 8, or what the compact form has not.
      UserError: a weight file is missing, is another network's, or cannot be downloaded.
    """
    for name, side in zip(("height", "width"), input_shape[:2], strict=True):
        if side is not None and side % STRIDE:
            raise ValueError(f"{name} {side} is not a multiple of {STRIDE}")
    if backbone_name not in (COMPACT, *BACKBONES):
        raise ValueError(f"backbone '{backbone_name}' is unknown; there are {', '.join((COMPACT, *BACKBONES))}")
    if backbone_name == COMPACT and (auxiliary or encoder_weights or encoder_freeze):
        raise ValueError(
            "the compact form has neither an auxiliary head nor weights for its encoder, which is no ResNet"
        )
    normalize = Normalization(bn_momentum, bn_synchronized, normalization)
    image = layers.Input(input_shape, name="data")
    if backbone_name == COMPACT:
        logits = [compact_logits(image, classes, normalize)]
    else:
        encoder = _encoder(backbone_name, image, encoder_weights, normalize)
        if encoder_freeze:
            freeze(encoder)
        logits = _logits(encoder, classes, auxiliary, normalize)
    names = (activation, f"auxiliary_{activation}")
    outputs = [layers.Activation(activation, name=name, dtype=full())(x) for name, x in zip(names, logits)]
    return keras.Model(image, outputs if auxiliary else outputs[0], name="canet")


def _encoder(
    backbone: str, image: KerasTensor, encoder_weights: str | Path | None, normalization: Normalization
) -> keras.Model:
    """The dilated ResNet with its weights."""
    encoder = dilated_resnet(backbone, image, normalization)
    if path := encoder_weights_path(backbone, encoder_weights, weights_source(backbone)):
        load_encoder(encoder, path)
    return encoder


def _logits(encoder: keras.Model, classes: int, auxiliary: bool, normalization: Normalization) -> list[KerasTensor]:
    """(B, H, W, classes) of the main head and, if wanted, of the auxiliary one."""
    stage1, stage3, stage4 = encoder.outputs
    x = _context(stage4, normalization)  # (B, H/8, W/8, 512)
    x = _feature_selection(x, normalization)  # (B, H/8, W/8, 256)
    x = _decoder(x, stage1, normalization)  # (B, H/4, W/4, 256)
    logits = [_classifier(x, classes, 4, "final")]
    if auxiliary:
        x = _convolution(stage3, FILTERS, 3, "auxiliary", normalization)
        logits.append(_classifier(x, classes, STRIDE, "auxiliary_final"))
    return logits


def _context(features: KerasTensor, normalization: Normalization) -> KerasTensor:
    """The sum of the global flow and the chain of context flows, each of which reads the one before."""
    x = layers.GlobalAveragePooling2D(keepdims=True, name="global_pool")(features)
    x = _convolution(x, FLOW_FILTERS, 1, "global", normalization)
    flows = [SpreadLike(name="global_spread")(x, features)]
    for number, factor in enumerate(POOLINGS, start=1):
        name = f"flow{number}"
        x = layers.Concatenate(name=f"{name}_concat")([features, flows[-1]])
        x = layers.AveragePooling2D(factor, padding="same", name=f"{name}_pool")(x)
        for part in "ab":
            x = _separable_convolution(x, FLOW_FILTERS, name + part, normalization)
        flows.append(EnlargeLike(factor, name=f"{name}_enlarge")(x, features))
    return layers.Add(name="flows_add")(flows)


def _feature_selection(x: KerasTensor, normalization: Normalization) -> KerasTensor:
    """Channels weighed by what the whole image holds: x + a·x."""
    x = _convolution(x, FILTERS, 3, "selection", normalization)
    weights = layers.GlobalAveragePooling2D(keepdims=True, name="selection_pool")(x)
    weights = _convolution(weights, FILTERS, 1, "selection_weights", normalization, activation="sigmoid")
    return layers.Add(name="selection_add")([x, layers.Multiply(name="selection_multiply")([x, weights])])


def _decoder(x: KerasTensor, low_level: KerasTensor, normalization: Normalization) -> KerasTensor:
    """Context at twice its size beside a few channels of the first stage."""
    low_level = _convolution(low_level, LOW_LEVEL_FILTERS, 3, "low_level", normalization)
    x = Enlarge(2, name="decoder_enlarge")(x)
    x = layers.Concatenate(name="decoder_concat")([low_level, x])
    for part in "ab":
        x = _convolution(x, FILTERS, 3, f"decoder{part}", normalization)
    return x


def _classifier(x: KerasTensor, classes: int, factor: int, name: str) -> KerasTensor:
    """Class scores at the image's own size; the only convolution with a bias."""
    x = layers.Dropout(DROPOUT, name=f"{name}_dropout")(x)
    x = layers.Conv2D(classes, 1, name=f"{name}_conv", dtype=full())(x)
    return Enlarge(factor, name=f"{name}_enlarge", dtype=full())(x)


def _convolution(
    x: KerasTensor,
    filters: int,
    kernel: int,
    name: str,
    normalization: Normalization,
    activation: str = "relu",
) -> KerasTensor:
    """Convolution, normalisation, activation."""
    x = layers.Conv2D(
        filters, kernel, padding="same", use_bias=False, kernel_initializer="he_uniform", name=f"{name}_conv"
    )(x)
    x = normalization(f"{name}_bn", epsilon=1e-5)(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def _separable_convolution(x: KerasTensor, filters: int, name: str, normalization: Normalization) -> KerasTensor:
    """3×3 channel by channel, then 1×1, each normalised and rectified."""
    x = layers.DepthwiseConv2D(
        3, padding="same", use_bias=False, depthwise_initializer="he_uniform", name=f"{name}_depthwise"
    )(x)
    x = normalization(f"{name}_depthwise_bn", epsilon=1e-5)(x)
    x = layers.Activation("relu", name=f"{name}_depthwise_relu")(x)
    return _convolution(x, filters, 1, f"{name}_pointwise", normalization)

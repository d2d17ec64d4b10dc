"""UNET with a ResNet encoder: the ``Unet`` of the segmentation_models library, rebuilt natively in Keras 3.

Signature, defaults and layer names are those of version 1.0.1, and its weight files load unchanged. The one other
default is the backbone: the library's is VGG-16, which is not here. Input is RGB 0..255.

Reference: Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation", 2015;
https://github.com/qubvel/segmentation_models
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
from keras import layers

from model.downloads import encoder_weights_path
from model.precision import full
from model.resnet import FEATURES, STRIDE, Normalization, Tensor, resnet
from model.weights import load_encoder, load_legacy_weights

DECODER_FILTERS = (256, 128, 64, 32, 16)


def Unet(  # noqa: N802 - the library's name
    backbone_name: str = "resnet34",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    classes: int = 1,
    activation: str = "sigmoid",
    weights: str | Path | None = None,
    encoder_weights: str | Path | None = "imagenet",
    encoder_freeze: bool = False,
    encoder_features: Sequence[str] | Literal["default"] = "default",
    decoder_block_type: str = "upsampling",
    decoder_filters: Sequence[int] = DECODER_FILTERS,
    decoder_use_batchnorm: bool = True,
    *,
    normalization: Literal["batch", "group"] = "batch",
    bn_momentum: float = 0.99,
    bn_synchronized: bool = False,
) -> keras.Model:
    """Build the network. The last three arguments are ours.

    Args:
      backbone_name: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
      input_shape: (height, width, channels), the first two multiples of 32 or None.
      classes: number of channels of the output.
      activation: of the output, ``sigmoid``, ``softmax`` or ``linear``; the last layer bears its name.
      weights: None, or a file of the whole network's weights in Keras 2's HDF5 layout.
      encoder_weights: None, ``imagenet`` (downloaded and cached: model/downloads.py), or a file of the same layout
        that holds the encoder's layers, and maybe others.
      encoder_freeze: train nothing of the encoder but its normalisation.
      encoder_features: names of the encoder's layers that the decoder's stages take, the smallest first.
      decoder_block_type: ``upsampling`` (nearest, then two convolutions) or ``transpose`` (one of them transposed).
      decoder_filters: channels of the decoder's stages. Each doubles the size; five give the image's own.
      decoder_use_batchnorm: normalise in the decoder; its convolutions have biases otherwise.
      normalization: ``batch`` or ``group``.
      bn_momentum: of the moving statistics; small data wants 0.9 (with 0.99 they need some 500 steps).
      bn_synchronized: take batch statistics over all replicas of a distribution strategy.

    Returns:
      A model from (B, H, W, channels), RGB 0..255, to (B, H, W, classes).

    Raises:
      ValueError: unknown backbone, block or feature, or a size that is not a multiple of 32.
      UserError: a weight file is missing, is another network's, or cannot be downloaded.
    """
    for name, side in zip(("height", "width"), input_shape[:2], strict=True):
        if side is not None and side % STRIDE:
            raise ValueError(f"{name} {side} is not a multiple of {STRIDE}")
    if decoder_block_type not in _STAGES:
        raise ValueError(f"decoder_block_type '{decoder_block_type}' is unknown; there are {', '.join(_STAGES)}")
    normalize = Normalization(bn_momentum, bn_synchronized, normalization)
    encoder = resnet(backbone_name, layers.Input(input_shape, name="data"), normalize)
    if path := encoder_weights_path(backbone_name, encoder_weights):
        load_encoder(encoder, path)
    if encoder_freeze:
        freeze(encoder)
    skips = [_feature(encoder, name) for name in (FEATURES if encoder_features == "default" else encoder_features)]
    make_stage, x = _STAGES[decoder_block_type], encoder.output
    for number, filters in enumerate(decoder_filters):
        skip = skips[number] if number < len(skips) else None
        x = make_stage(x, skip, filters, f"decoder_stage{number}", normalize if decoder_use_batchnorm else None)
    x = layers.Conv2D(classes, 3, padding="same", kernel_initializer="glorot_uniform", name="final_conv", dtype=full())(
        x
    )
    x = layers.Activation(activation, name=activation, dtype=full())(x)  # (B, H, W, classes)
    model = keras.Model(encoder.input, x, name="unet")
    if weights is not None:
        load_legacy_weights(model, weights)
    return model


def freeze(encoder: keras.Model) -> None:
    """Nothing but normalisation is trained from now on, as in the library: its statistics suit the new images."""
    for layer in encoder.layers:
        if not isinstance(layer, layers.BatchNormalization | layers.GroupNormalization):
            layer.trainable = False


def _feature(encoder: keras.Model, name: str) -> Tensor:
    """An encoder layer's output, by name only: the library's numbers count padding layers that are not here."""
    names = [layer.name for layer in encoder.layers]
    if name not in names:
        raise ValueError(f"encoder_features: {encoder.name} has no layer named {name!r}; the default is {FEATURES}")
    return encoder.get_layer(name).output


def _upsampling_stage(
    x: Tensor, skip: Tensor | None, filters: int, name: str, normalization: Normalization | None
) -> Tensor:
    """Twice the size, the encoder's features beside it, two convolutions."""
    x = layers.UpSampling2D(2, name=name + "_upsampling")(x)
    x = _beside(x, skip, name)
    x = _convolution(x, filters, name + "a", normalization)
    return _convolution(x, filters, name + "b", normalization)


def _transpose_stage(
    x: Tensor, skip: Tensor | None, filters: int, name: str, normalization: Normalization | None
) -> Tensor:
    """A transposed convolution to twice the size, the encoder's features beside it, one convolution."""
    x = layers.Conv2DTranspose(
        filters, 4, strides=2, padding="same", use_bias=normalization is None, name=name + "a_transpose"
    )(x)
    x = _beside(_activation(x, name + "a", normalization), skip, name)
    return _convolution(x, filters, name + "b", normalization)


_STAGES: dict[str, Callable[[Tensor, Tensor | None, int, str, Normalization | None], Tensor]] = {
    "upsampling": _upsampling_stage,
    "transpose": _transpose_stage,
}


def _beside(x: Tensor, skip: Tensor | None, name: str) -> Tensor:
    return x if skip is None else layers.Concatenate(name=name + "_concat")([x, skip])


def _convolution(x: Tensor, filters: int, name: str, normalization: Normalization | None) -> Tensor:
    x = layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=normalization is None,
        kernel_initializer="he_uniform",
        name=name + "_conv",
    )(x)
    return _activation(x, name, normalization)


def _activation(x: Tensor, name: str, normalization: Normalization | None) -> Tensor:
    if normalization is not None:
        x = normalization(name + "_bn", epsilon=1e-3)(x)
    return layers.Activation("relu", name=name + "_relu")(x)

"""UNET with a ResNet encoder: the ``Unet`` of the segmentation_models library, rebuilt natively in Keras 3.

Signature, defaults and layer names are the library's. Input is RGB 0..255.

Reference: Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation", 2015;
https://github.com/qubvel/segmentation_models
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from model.resnet import STRIDE, Normalization, resnet_features

DECODER_FILTERS = (256, 128, 64, 32, 16)


def Unet(  # noqa: N802 - the library's name
    backbone_name: str = "resnet34",
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    classes: int = 1,
    activation: str = "sigmoid",
    encoder_weights: str | None = None,
    decoder_filters: Sequence[int] = DECODER_FILTERS,
    bn_momentum: float = 0.99,
    bn_synchronized: bool = False,
) -> keras.Model:
    """Build the network.

    Args:
      backbone_name: ``resnet18`` or ``resnet34``.
      input_shape: (height, width, 3), multiples of 32 or None.
      classes: number of channels of the output.
      activation: of the output, ``sigmoid``, ``softmax`` or ``linear``; the last layer bears its name.
      encoder_weights: None, or the path of a weight file whose layers are matched by name.
      decoder_filters: channels of the five decoder stages, from 1/16 of the image to its full size.
      bn_momentum: of the moving statistics; small data wants 0.9 (with 0.99 they need some 500 steps).
      bn_synchronized: take batch statistics over all replicas of a distribution strategy.

    Returns:
      A model from (B, H, W, 3), RGB 0..255, to (B, H, W, classes).

    Raises:
      ValueError: unknown backbone, or a size that is not a multiple of 32.
    """
    for name, side in zip(("height", "width"), input_shape[:2], strict=True):
        if side is not None and side % STRIDE:
            raise ValueError(f"{name} {side} is not a multiple of {STRIDE}")
    if len(decoder_filters) != len(DECODER_FILTERS):
        raise ValueError(f"decoder_filters needs {len(DECODER_FILTERS)} numbers, found {len(decoder_filters)}")
    normalization = Normalization(bn_momentum, bn_synchronized)
    image = layers.Input(input_shape, name="data")
    features = resnet_features(backbone_name, image, normalization)
    x = features.at32
    skips = (features.at16, features.at8, features.at4, features.at2, None)
    for stage, (filters, skip) in enumerate(zip(decoder_filters, skips, strict=True)):
        x = _decoder_stage(x, skip, filters, f"decoder_stage{stage}", normalization)  # stride 16, 8, 4, 2, 1
    x = layers.Conv2D(classes, 3, padding="same", kernel_initializer="glorot_uniform", name="final_conv")(x)
    x = layers.Activation(activation, name=activation)(x)  # (B, H, W, classes)
    model = keras.Model(image, x, name="unet")
    if encoder_weights:
        model.load_weights(encoder_weights, by_name=True)
    return model


def logits_model(model: keras.Model) -> keras.Model:
    """The same network, sharing all weights, without its last activation: (B, H, W, 3) → logits (B, H, W, classes)."""
    return keras.Model(model.input, model.layers[-1].input, name=f"{model.name}_logits")


def _decoder_stage(
    x: keras.KerasTensor, skip: keras.KerasTensor | None, filters: int, name: str, normalization: Normalization
) -> keras.KerasTensor:
    """Twice the size, the encoder's features beside it, two convolutions."""
    x = layers.UpSampling2D(2, name=name + "_upsampling")(x)
    if skip is not None:
        x = layers.Concatenate(name=name + "_concat")([x, skip])
    for part in "ab":
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_uniform",
            name=f"{name}{part}_conv",
        )(x)
        x = normalization(f"{name}{part}_bn", epsilon=1e-3)(x)
        x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
    return x

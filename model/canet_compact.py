"""The compact CANET of the article's course: 287,533 parameters for 21 classes (`python -m model.summary`).

A small encoder of its own, three context flows, and a global convolutional network as decoder. Unlike the
course's, its class scores are not rectified: a rectifier there leaves classes with a negative score
without a gradient.

Input is RGB 0..255 with height and width multiples of 8.

References: Tang et al., arXiv 2002.12041; for the decoder Peng et al., "Large kernel matters", CVPR 2017.
"""

from __future__ import annotations

from keras import KerasTensor, layers

from model.enlarging import Enlarge, EnlargeLike, SpreadLike
from model.precision import full
from model.resnet import Normalization

STEM_FILTERS, FILTERS = 64, 32
STAGES = ((4, 4, 8), (8, 8, 16), (16, 16, 32), (32, 32, 64))
"""Filters of the three convolutions of a stage's blocks; stage n has n identity blocks."""
STRIDES = (2, 2, 1, 1)
FLOWS, POOLING = 3, 2


def compact_logits(image: KerasTensor, classes: int, normalization: Normalization) -> KerasTensor:
    """Logits (B, H, W, classes) over an image tensor (B, H, W, 3)."""
    stages = _encoder(image, normalization)
    x = _context(stages[-1], normalization)  # (B, H/8, W/8, 32)
    x = _feature_selection(x, normalization)  # (B, H/4, W/4, 32)
    x = layers.Concatenate(name="decoder_concat")([x, _global_convolution(stages[0])])
    x = _convolution(x, classes, 3, "final", dtype=full())
    return Enlarge(4, name="final_enlarge", dtype=full())(x)


def _encoder(image: KerasTensor, normalization: Normalization) -> list[KerasTensor]:
    """Feature maps of 8, 16, 32 and 64 channels: the first at 1/4, the others at 1/8."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization", dtype=full())(image)
    x = _convolution(x, STEM_FILTERS, 3, "stem")
    x = _normalized(x, "stem", normalization)
    x = layers.Activation("relu", name="stem_relu")(x)
    x = layers.MaxPooling2D(2, name="stem_pool")(x)  # (B, H/2, W/2, 64)
    stages = []
    for number, (filters, strides) in enumerate(zip(STAGES, STRIDES, strict=True), start=1):
        x = _block(x, f"stage{number}_block0", filters, strides, normalization, project=True)
        for block in range(1, number + 1):
            x = _block(x, f"stage{number}_block{block}", filters, 1, normalization, project=False)
        stages.append(x)
    return stages


def _block(
    x: KerasTensor,
    name: str,
    filters: tuple[int, int, int],
    strides: int,
    normalization: Normalization,
    project: bool,
) -> KerasTensor:
    """A bottleneck beside the identity or, at a stage's start, a 3×3 convolution. The stride is in the first 1×1."""
    shortcut = x
    if project:
        shortcut = _normalized(_convolution(x, filters[2], 3, f"{name}_0", strides), f"{name}_0", normalization)
    for part, (count, kernel) in enumerate(zip(filters, (1, 3, 1), strict=True), start=1):
        x = _convolution(x, count, kernel, f"{name}_{part}", strides if part == 1 else 1)
        x = _normalized(x, f"{name}_{part}", normalization)
        if part < 3:
            x = layers.Activation("relu", name=f"{name}_{part}_relu")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _context(features: KerasTensor, normalization: Normalization) -> KerasTensor:
    """The sum of the global flow and the context flows, each of which reads the one before."""
    x = layers.GlobalAveragePooling2D(keepdims=True, name="global_pool")(features)
    x = layers.Activation("relu", name="global_relu")(_normalized(x, "global", normalization))
    flows = [SpreadLike(name="global_spread")(_convolution(x, FILTERS, 1, "global"), features)]
    for number in range(1, FLOWS + 1):
        name = f"flow{number}"
        x = layers.Concatenate(name=f"{name}_concat")([features, flows[-1]])
        x = layers.AveragePooling2D(POOLING, padding="same", name=f"{name}_pool")(x)
        x = _convolution(_convolution(x, FILTERS, 3, f"{name}_a"), FILTERS, 3, f"{name}_b")
        weights = layers.Activation("relu", name=f"{name}_relu")(_convolution(x, FILTERS, 1, f"{name}_c"))
        weights = layers.Activation("sigmoid", name=f"{name}_sigmoid")(_convolution(weights, FILTERS, 1, f"{name}_d"))
        x = layers.Add(name=f"{name}_add")([layers.Multiply(name=f"{name}_multiply")([x, weights]), x])
        flows.append(EnlargeLike(POOLING, name=f"{name}_enlarge")(x, features))
    return layers.Add(name="flows_add")(flows)


def _feature_selection(x: KerasTensor, normalization: Normalization) -> KerasTensor:
    """Channels weighed by what the whole image holds, at twice the size."""
    x = _convolution(x, FILTERS, 3, "selection")
    weights = layers.GlobalAveragePooling2D(keepdims=True, name="selection_pool")(x)
    weights = _normalized(_convolution(weights, FILTERS, 1, "selection_weights"), "selection_weights", normalization)
    weights = layers.Activation("sigmoid", name="selection_sigmoid")(weights)
    x = layers.Multiply(name="selection_multiply")([x, weights])
    return Enlarge(2, name="selection_enlarge")(x)


def _global_convolution(x: KerasTensor) -> KerasTensor:
    """A 7×7 neighbourhood by two pairs of thin convolutions, and a residual 3×3 that sharpens borders."""
    column_row = _convolution(_convolution(x, FILTERS, (7, 1), "agcn_a"), FILTERS, (1, 7), "agcn_b")
    row_column = _convolution(_convolution(x, FILTERS, (1, 7), "agcn_c"), FILTERS, (7, 1), "agcn_d")
    x = layers.Add(name="agcn_sum")([column_row, row_column])
    return layers.Add(name="agcn_add")([x, _convolution(x, FILTERS, 3, "agcn_e")])


def _convolution(
    x: KerasTensor,
    filters: int,
    kernel: int | tuple[int, int],
    name: str,
    strides: int = 1,
    dtype: str | None = None,
) -> KerasTensor:
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        kernel_initializer="he_uniform",
        name=f"{name}_conv",
        dtype=dtype,
    )(x)


def _normalized(x: KerasTensor, name: str, normalization: Normalization) -> KerasTensor:
    return normalization(f"{name}_bn", epsilon=1e-3)(x)

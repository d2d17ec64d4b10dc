"""Weights and images by rule, the same for the library and for us, so that no large file need be kept.

Moderate on purpose: activations neither grow nor fade through a hundred layers. Where they grow, float32's rounding
alone makes two right implementations differ by 1e-2.
"""

from __future__ import annotations

import zlib

import numpy as np


def filled(layer: str, variable: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of a layer's variable, a function of both names and the shape."""
    random = np.random.default_rng(zlib.crc32(f"{layer}/{variable}".encode()))
    if variable == "kernel":
        fan_in = shape[3] * 4 if layer.endswith("transpose") else int(np.prod(shape[:-1]))
        value = random.normal(0, np.sqrt(_gain(layer) / fan_in), shape)
    elif variable == "gamma":
        value = random.uniform(0.8, 1.2, shape)
    elif variable == "moving_variance":
        value = random.uniform(3000, 6000, shape) if layer == "bn_data" else random.uniform(0.8, 1.4, shape)
    elif variable == "moving_mean" and layer == "bn_data":
        value = random.uniform(100, 150, shape)
    else:  # beta, bias, moving_mean
        value = random.normal(0, 0.1, shape)
    return value.astype(np.float32)


def _gain(layer: str) -> float:
    """Variance out per variance in: after a ReLU 2 keeps it; a residual branch adds to what is there already."""
    if "_conv" in layer and layer.startswith("stage"):
        return 0.7
    if layer == "final_conv":
        return 0.25  # outputs, and with them the differences by rounding, of some 0.2
    return 1.0 if layer == "conv0" else 2.0


def image(height: int, width: int) -> np.ndarray:
    """One RGB image (1, height, width, 3), float32 0..255: a slope, stripes and noise."""
    rows, columns = np.mgrid[:height, :width]
    colours = np.stack(
        [rows * 255 / height, 255 - columns * 200 / width, 127 + 120 * np.sin(rows / 5 + columns / 3)], -1
    )
    noise = np.random.default_rng(3).normal(0, 12, (height, width, 3))
    return np.clip(np.round(colours + noise), 0, 255)[None].astype(np.float32)


def sampled(output: np.ndarray) -> np.ndarray:
    """A few pixels of an output (1, H, W, C), at steps that reach every phase of every stride."""
    return output[0, ::5, ::7]

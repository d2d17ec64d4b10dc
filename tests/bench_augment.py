"""Benchmark of the augmentation against layers that do the same; `measure` adds its rows and bars to a report.

    python -m tests.bench_augment

Batches of 8 × 256×512 with masks, on the CPU, everything in a graph, in turn, medians of one run:

- flip, turn, zoom, shear, shift and colour jitter: ours, a chain of keras-cv's layers, a chain of Keras' own;
- the whole ``street`` recipe: ours, and keras-cv doing all of it, blur and cutout included;
- our two compiled loops, and what TensorFlow's own operations take for the same matrices.

The peers get the same ranges. keras-cv's turn is told the number of classes, for it one-hots the mask; its
``RandomApply`` does not run in a graph with Keras 3, so a coin for the whole batch stands in for it, which is
cheaper than one for each image.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from configs.commands import run_command, say
from tests.bench_report import Bar, Report

BATCH, HEIGHT, WIDTH, CLASSES = 8, 256, 512, 20
ROUNDS = 15
FUSED = {
    "recipe": "none", "flip": 0.5, "scale": (0.8, 1.25), "rotate": 10, "shear": 5, "translate": 0.1,
    "brightness": 0.2, "contrast": 0.2, "saturation": 0.3, "hue": 10,
}  # fmt: skip

Step = Callable[[Any, Any, Any], Any]
"""(images uint8, masks uint8, number of the step) → anything."""


def measure(report: Report) -> None:
    """Measure all of it and append rows (images per second; peers also as a share of ours) and bars."""
    steps = {
        "fused geometry and colour": ours(**FUSED),
        "- chain of keras-cv layers": chain(_keras_cv_geometry(10, 0.2, 0.0875, 0.1, 0.2, 0.2, 0.3, 10)),
        "- chain of Keras layers": chain(_keras_layers()),
        "recipe street": ours(recipe="street"),
        "- keras-cv doing all of it": chain(_street_in_keras_cv()),
        **{f"recipe {name}": ours(recipe=name) for name in ("light", "article", "strong")},
    }
    seconds = time_in_turn(steps | two_loops())
    fused, street = seconds["fused geometry and colour"], seconds["recipe street"]
    own = fused
    for name, taken in seconds.items():
        own = taken if not name.startswith("-") else own  # what a peer is compared with stands above it
        ratio = f"1 / {taken / own:.3g}" if name.startswith("-") else ""
        report.row(f"augment 8×256×512: {name}", f"{BATCH / taken:.0f}", ratio)
    report.bar(Bar("augment_fused_vs_keras_cv", seconds["- chain of keras-cv layers"] / fused, 10))
    report.bar(Bar("augment_fused_vs_keras", seconds["- chain of Keras layers"] / fused, 10))
    report.bar(Bar("augment_street_vs_keras_cv", seconds["- keras-cv doing all of it"] / street, 6))


def ours(**options: Any) -> Step:
    """The augmentation that the options describe."""
    from pipelines.augment import Augmentation, AugmentOptions
    from pipelines.random_key import RandomKey

    augmentation = Augmentation(AugmentOptions(**options))
    return lambda images, masks, step: augmentation(images, masks, RandomKey(1, step, 0))


def chain(layers: Sequence[Any]) -> Step:
    """Layers one after the other, on images and masks."""
    import tensorflow as tf

    def step(images: Any, masks: Any, number: Any) -> Any:
        both = {"images": tf.cast(images, tf.float32), "segmentation_masks": masks[..., None]}
        for layer in layers:
            both = layer(both)
        return both

    return step


def two_loops() -> dict[str, Step]:
    """Resampling and colour matrix, each ours and by TensorFlow's own operations."""
    import tensorflow as tf

    from pipelines.color import ColorOptions, color_matrices, draw_color, recolor
    from pipelines.geometry import GeometryOptions, draw_geometry, geometry_matrices, resample
    from pipelines.random_key import RandomKey

    size, key = (HEIGHT, WIDTH), RandomKey(1, 0, 0)
    moves, colors = GeometryOptions(rotate=10, scale=(0.8, 1.25)), ColorOptions(brightness=0.2, hue=10)
    matrices = geometry_matrices(draw_geometry(BATCH, size, moves, key), size, size, moves.translate)
    drawn = draw_color(BATCH, colors, key)

    def projective(images: Any, masks: Any, number: Any) -> Any:
        rows = tf.concat([tf.reshape(matrices, [-1, 6]), tf.zeros([BATCH, 2])], axis=-1)
        given = {"transforms": rows, "output_shape": size, "fill_mode": "CONSTANT"}
        transform = tf.raw_ops.ImageProjectiveTransformV3
        moved = transform(images=tf.cast(images, tf.float32), fill_value=0.0, interpolation="BILINEAR", **given)
        return moved, transform(images=masks[..., None], fill_value=255.0, interpolation="NEAREST", **given)

    def product(images: Any, masks: Any, number: Any) -> Any:
        flat = tf.reshape(tf.cast(images, tf.float32), [BATCH, -1, 3])
        matrix = color_matrices(drawn)
        return tf.clip_by_value(tf.matmul(flat, matrix[:, :, :3], transpose_b=True) + matrix[:, None, :, 3], 0.0, 255.0)

    return {
        "resampling": lambda images, masks, number: resample(images, masks, matrices, size),
        "- ImageProjectiveTransformV3 twice": projective,
        "colour matrix": lambda images, masks, number: recolor(tf.cast(images, tf.float32), drawn, colors),
        "- matrix product and clip": product,
    }


def time_in_turn(steps: dict[str, Step]) -> dict[str, float]:
    """Median seconds of each step; every round runs all of them, so that a busy moment meets all alike."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (BATCH, HEIGHT, WIDTH, 3)).astype(np.uint8))
    masks = tf.constant(random.integers(0, CLASSES, (BATCH, HEIGHT, WIDTH)).astype(np.uint8))
    graphs = {name: tf.function(step, jit_compile=False) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 2):
        for name, graph in graphs.items():
            started = time.perf_counter()
            for part in tf.nest.flatten(graph(images, masks, tf.constant(number))):
                part.numpy()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken[2:]) for name, taken in seconds.items()}  # the first two trace and warm up


def _keras_cv_geometry(
    turn: float,
    zoom: float,
    shear: float,
    shift: float,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> list[Any]:
    from keras_cv import layers

    outside = {"fill_mode": "constant"}
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(turn / 360, segmentation_classes=CLASSES, **outside),
        layers.RandomZoom((-zoom, zoom), **outside),
        layers.RandomShear(x_factor=shear, **outside),
        layers.RandomTranslation(shift, shift, **outside),
        layers.RandomColorJitter((0, 255), brightness, contrast, saturation, hue / 360),
    ]


def _street_in_keras_cv() -> list[Any]:
    from keras_cv import layers

    return [
        *_keras_cv_geometry(5, 0.3, 0.0524, 0.05, 0.3, 0.25, 0.3, 8),
        layers.RandomChannelShift((0, 255), 0.05),
        _sometimes(layers.RandomGaussianBlur(5, (0.3, 1.2)), 0.15),
        _sometimes(layers.RandomCutout((0.05, 0.3), (0.03, 0.15)), 0.2),
    ]


def _sometimes(layer: Any, rate: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The layer, for the share ``rate`` of all batches."""
    import tensorflow as tf

    return lambda both: tf.cond(tf.random.uniform([]) < rate, lambda: layer(both), lambda: both)


def _keras_layers() -> list[Any]:
    from keras import layers

    outside = {"fill_mode": "constant"}
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(10 / 360, **outside),
        layers.RandomZoom((-0.2, 0.2), **outside),
        layers.RandomShear(x_factor=0.0875, **outside),
        layers.RandomTranslation(0.1, 0.1, **outside),
        layers.RandomColorJitter((0, 255), 0.2, 0.2, 0.3, 10 / 360),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; `make bench-input` writes the file."""
    report = Report("Augmentation", "python -m tests.bench_augment`")
    measure(report)
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Benchmark of the augmentation against layers that do the same; `measure` adds its rows and bars to a report.

    python -m tests.bench_augment

Batches of 8 × 256×512 with masks, on the CPU, everything in a graph, in turn, medians of one run:

- flip, turn, zoom, shear, shift and colour jitter: ours, a chain of keras-cv's layers, a chain of Keras' own;
- the whole ``street`` recipe: ours, and keras-cv doing all of it, blur and cutout included.

The peers get the same ranges. keras-cv's turn is told the number of classes, for it one-hots the mask.
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
    """Measure all of it and append rows (images per second, ratio to the peers' slower half) and bars."""
    steps = {
        "fused geometry and colour": ours(**FUSED),
        "- chain of keras-cv layers": chain(_keras_cv_geometry(10, 0.2, 0.0875, 0.1, 0.2, 0.2, 0.3, 10)),
        "- chain of Keras layers": chain(_keras_layers()),
        "recipe street": ours(recipe="street"),
        "- keras-cv doing all of it": chain(_street_in_keras_cv()),
        **{f"recipe {name}": ours(recipe=name) for name in ("light", "article", "strong")},
    }
    seconds = time_in_turn(steps)
    fused, street = seconds["fused geometry and colour"], seconds["recipe street"]
    for name, taken in seconds.items():
        own = street if name in ("recipe street", "- keras-cv doing all of it") else fused
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
        layers.RandomApply(layers.RandomGaussianBlur(5, (0.3, 1.2)), rate=0.15, batchwise=True),
        layers.RandomApply(layers.RandomCutout((0.05, 0.3), (0.03, 0.15)), rate=0.2, batchwise=True),
    ]


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

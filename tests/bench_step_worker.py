"""One side of the step benchmark, in a process of its own: trains when told to, and says how long each step took.

    python -m tests.bench_step_worker ours|bfloat16|composed_norm|composed_adamw|library HEIGHT WIDTH BATCH

Reads a number of steps a line from standard input and answers with one line of JSON: ``seconds`` of each step, and
``peak_bytes``, the most that the process has held so far. Both sides take the same images and labels of 21 classes,
and do the article's step: sigmoid, ``cce_dice_loss``, Adam with a rate of 1e-3 and a score of the batch. The
library's labels are one-hot before the clock starts; ours are class ids, as they come from records.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from model.precision import Precision

CLASSES = 21
BACKBONE = "resnet34"


def make_batch(height: int, width: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and labels in blocks: images float32 (B, H, W, 3) 0..255, masks uint8 (B, H, W)."""
    random = np.random.default_rng(1)
    images = random.uniform(0, 255, (batch, height, width, 3)).astype(np.float32)
    blocks = random.integers(0, CLASSES, (batch, height // 8, width // 8)).astype(np.uint8)
    return images, blocks.repeat(8, axis=1).repeat(8, axis=2)


def ours(images: np.ndarray, masks: np.ndarray, precision: Precision = "float32") -> Callable[[], float]:
    """The training step of `model.steps`, without augmentation."""
    import tensorflow as tf

    from model.gradients import Objective
    from model.losses import cce_dice_loss
    from model.metrics import ConfusionMatrix
    from model.optimizer import build_optimizer
    from model.outputs import logits_model
    from model.recipe import ModelOptions, TrainOptions, build_network
    from model.steps import make_training_step
    from pipelines.augment import AugmentOptions

    options = ModelOptions(backbone=BACKBONE, activation="sigmoid", bn_momentum=0.99)
    model = build_network(options, CLASSES, precision=precision)
    train = TrainOptions(warmup_steps=0, schedule="constant")
    batch = (tf.constant(images.astype(np.uint8)), tf.constant(masks))
    step = make_training_step(
        tf.distribute.get_strategy(),
        Objective(logits_model(model), cce_dice_loss, "sigmoid"),
        build_optimizer(train, 10_000, model),
        AugmentOptions(recipe="none"),
        train,
        ConfusionMatrix(CLASSES),
        tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batch),
    )
    return lambda: float(step(batch, tf.constant(0)).loss)


def bfloat16(images: np.ndarray, masks: np.ndarray) -> Callable[[], float]:
    """Ours in mixed precision: what `model.precision` is for."""
    return ours(images, masks, "bfloat16")


def composed_norm(images: np.ndarray, masks: np.ndarray) -> Callable[[], float]:
    """Ours with Keras' own batch normalisation: what `model.normalization` is for."""
    import keras

    from model import resnet

    resnet.BatchNormalization = keras.layers.BatchNormalization
    return ours(images, masks)


def composed_adamw(images: np.ndarray, masks: np.ndarray) -> Callable[[], float]:
    """Ours with Keras' own AdamW: what `model.optimizer` is for."""
    import keras

    from model import optimizer

    optimizer.AdamW = keras.optimizers.AdamW
    return ours(images, masks)


def library(images: np.ndarray, masks: np.ndarray) -> Callable[[], float]:
    """segmentation_models' network as its users train it: compiled, one ``train_on_batch`` a step."""
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    import segmentation_models as sm
    import tensorflow as tf

    model = sm.Unet(BACKBONE, classes=CLASSES, activation="sigmoid", encoder_weights=None)
    model.compile(tf.keras.optimizers.Adam(1e-3), loss=sm.losses.cce_dice_loss, metrics=[sm.metrics.iou_score])
    truth = np.eye(CLASSES, dtype=np.float32)[masks]
    return lambda: float(model.train_on_batch(images, truth)[0])


def serve(step: Callable[[], float]) -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            started = time.perf_counter()
            loss = step()
            seconds.append(time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _answer.write(json.dumps({"seconds": seconds, "peak_bytes": peak, "loss": loss}) + "\n")
        _answer.flush()


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _answer, sys.stdout = sys.stdout, sys.stderr  # the library greets on standard output
    name, *numbers = sys.argv[1:]
    sides = {side.__name__: side for side in (ours, bfloat16, composed_norm, composed_adamw, library)}
    serve(sides[name](*make_batch(*map(int, numbers))))

"""Make the golden values of losses and scores with segmentation_models itself, on random tensors.

    python3.11 -m venv .venv-peer
    .venv-peer/bin/pip install -r tests/bench_peers_step.txt
    .venv-peer/bin/python tests/data/make_golden_losses.py

Writes ``golden_losses.npz`` beside this file. Inputs: ``ids`` uint8 (B, H, W), and float32 (B, H, W, C) predictions
``softmax`` and ``sigmoid``; ``binary_truth`` uint8 and ``binary`` float32, both (B, H, W, 1); ``weights`` (C,). Class 4
is never true, and a few predictions are exactly 0 or 1. Values are float32 scalars named ``INPUT/LOSS``, with the
library's arguments after them: ``softmax/iou_score(threshold=0.5)``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import segmentation_models as sm
import tensorflow as tf

CLASSES = 5
SHAPE = (3, 6, 7)
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.25, 3.0], np.float32)
L, M = sm.losses, sm.metrics

OF_CLASSES: dict[str, Callable[..., Any]] = {
    "categorical_crossentropy": L.categorical_crossentropy,
    "categorical_crossentropy(class_weights)": L.CategoricalCELoss(class_weights=WEIGHTS),
    "dice_loss": L.dice_loss,
    "dice_loss(beta=2)": L.DiceLoss(beta=2),
    "dice_loss(class_weights)": L.DiceLoss(class_weights=WEIGHTS),
    "dice_loss(per_image=True)": L.DiceLoss(per_image=True),
    "jaccard_loss": L.jaccard_loss,
    "jaccard_loss(class_weights)": L.JaccardLoss(class_weights=WEIGHTS),
    "jaccard_loss(per_image=True)": L.JaccardLoss(per_image=True),
    "categorical_focal_loss": L.categorical_focal_loss,
    "categorical_focal_loss(alpha=0.5,gamma=1.5)": L.CategoricalFocalLoss(alpha=0.5, gamma=1.5),
    "cce_dice_loss": L.cce_dice_loss,
    "cce_jaccard_loss": L.cce_jaccard_loss,
    "categorical_focal_dice_loss": L.categorical_focal_dice_loss,
    "categorical_focal_jaccard_loss": L.categorical_focal_jaccard_loss,
    "iou_score": M.iou_score,
    "iou_score(threshold=0.5)": M.IOUScore(threshold=0.5),
    "iou_score(threshold=0.3)": M.IOUScore(threshold=0.3),
    "iou_score(class_indexes=[0,2])": M.IOUScore(class_indexes=[0, 2]),
    "iou_score(class_weights)": M.IOUScore(class_weights=WEIGHTS),
    "iou_score(per_image=True)": M.IOUScore(per_image=True),
    "f1_score": M.f1_score,
    "f1_score(threshold=0.5)": M.FScore(threshold=0.5),
}
OF_TWO: dict[str, Callable[..., Any]] = {
    "binary_crossentropy": L.binary_crossentropy,
    "binary_focal_loss": L.binary_focal_loss,
    "dice_loss": L.dice_loss,
    "jaccard_loss": L.jaccard_loss,
    "bce_dice_loss": L.bce_dice_loss,
    "bce_jaccard_loss": L.bce_jaccard_loss,
    "binary_focal_dice_loss": L.binary_focal_dice_loss,
    "binary_focal_jaccard_loss": L.binary_focal_jaccard_loss,
    "iou_score": M.iou_score,
    "iou_score(threshold=0.5)": M.IOUScore(threshold=0.5),
}


def make_inputs() -> dict[str, np.ndarray]:
    """Seeded truths and predictions."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (*SHAPE, CLASSES))
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    softmax[0, 0, :2] = np.eye(CLASSES)[:2]  # certain, and once wrong
    binary = 1 / (1 + np.exp(-random.normal(0, 2, (*SHAPE, 1))))
    binary[0, 0, :2] = [[0.0], [1.0]]
    return {
        "ids": random.integers(0, CLASSES - 1, SHAPE).astype(np.uint8),
        "softmax": softmax.astype(np.float32),
        "sigmoid": (1 / (1 + np.exp(-logits))).astype(np.float32),
        "binary_truth": random.integers(0, 2, (*SHAPE, 1)).astype(np.uint8),
        "binary": binary.astype(np.float32),
        "weights": WEIGHTS,
    }


def main() -> None:
    inputs = make_inputs()
    truth = tf.constant(np.eye(CLASSES, dtype=np.float32)[inputs["ids"]])
    binary_truth = tf.constant(inputs["binary_truth"].astype(np.float32))
    values = {
        **{
            f"{kind}/{name}": f(truth, tf.constant(inputs[kind]))
            for kind in ("softmax", "sigmoid")
            for name, f in OF_CLASSES.items()
        },
        **{f"binary/{name}": f(binary_truth, tf.constant(inputs["binary"])) for name, f in OF_TWO.items()},
    }
    path = Path(__file__).with_name("golden_losses.npz")
    np.savez_compressed(path, **inputs, **{name: np.float32(value) for name, value in values.items()})
    for name, value in values.items():
        print(f"{name} {float(value):.7f}")  # noqa: T201 - it is a script


if __name__ == "__main__":
    main()

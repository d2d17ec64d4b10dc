"""Make the golden outputs of UNET with segmentation_models itself, and try weight files on it.

    python3.11 -m venv .venv-peer
    .venv-peer/bin/pip install -r tests/bench_peers_step.txt
    .venv-peer/bin/python tests/data/make_golden_unet.py
    .venv-peer/bin/python tests/data/make_golden_unet.py --write x.h5 --case resnet50 [--encoder]
    .venv-peer/bin/python tests/data/make_golden_unet.py --check x.h5 --case resnet50

The first writes ``golden_unet.npz`` beside this file. For every case: ``CASE/linear``, ``CASE/sigmoid`` and
``CASE/softmax`` float32 (13, 14, 5), the pixels that `filled.sampled` takes of the output for `filled.image`, all
weights filled by rule; ``CASE/layers`` the names of layers with weights, in the order in which Keras 2 matches them;
``CASE/parameters`` and ``CASE/trainable`` their numbers, and ``CASE/trainable_frozen`` with a frozen encoder.
``--write`` writes a weight file as the library does. ``--check`` loads one into the library, by position as it does,
and prints the largest difference from the golden outputs.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("SM_FRAMEWORK", "tf.keras")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import segmentation_models as sm
import tensorflow as tf
from filled import filled, image, sampled

GOLDEN = Path(__file__).with_name("golden_unet.npz")
ACTIVATIONS = ("linear", "sigmoid", "softmax")
CLASSES, SIZE = 5, (64, 96)
CASES: dict[str, dict[str, Any]] = {
    **{name: {"backbone_name": name} for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
    "transpose": {"backbone_name": "resnet18", "decoder_block_type": "transpose"},
    "plain": {"backbone_name": "resnet18", "decoder_use_batchnorm": False, "decoder_filters": (48, 32, 24, 16, 8)},
    "features": {"backbone_name": "resnet18", "encoder_features": ("stage4_unit1_bn1", "stage2_unit2_relu1")},
}


def build(case: str, activation: str = "linear", **more: Any) -> tf.keras.Model:
    return sm.Unet(classes=CLASSES, activation=activation, encoder_weights=None, **CASES[case], **more)


def fill(model: tf.keras.Model) -> None:
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.name.rpartition("/")[2].partition(":")[0]
            variable.assign(filled(layer.name, name, tuple(variable.shape)))


def count(weights: list[tf.Variable]) -> int:
    return sum(int(np.prod(variable.shape)) for variable in weights)


def golden_of(case: str) -> dict[str, Any]:
    tf.keras.backend.clear_session()
    model = build(case)
    fill(model)
    values: dict[str, Any] = {
        "layers": np.array([layer.name for layer in model.layers if layer.weights]),
        "parameters": model.count_params(),
        "trainable": count(model.trainable_weights),
        "trainable_frozen": count(build(case, encoder_freeze=True).trainable_weights),
    }
    for activation in ACTIVATIONS:
        other = build(case, activation)
        other.set_weights(model.get_weights())
        output = other(image(*SIZE), training=False).numpy()
        values[activation] = sampled(output)
        print(f"{case} {activation}: {output.shape}, deviation {output.std():.4f}")  # noqa: T201 - it is a script
    return {f"{case}/{key}": value for key, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", metavar="H5")
    parser.add_argument("--check", metavar="H5")
    parser.add_argument("--case", choices=CASES, default="resnet34")
    parser.add_argument("--encoder", action="store_true", help="write the encoder only")
    options = parser.parse_args()
    if options.write:
        model = build(options.case)
        fill(model)
        if options.encoder:
            model = tf.keras.Model(model.input, model.get_layer("relu1").output)
        model.save_weights(options.write)
    elif options.check:
        golden = np.load(GOLDEN)
        model = build(options.case)
        model.load_weights(options.check)
        output = sampled(model(image(*SIZE), training=False).numpy())
        print(f"{np.abs(output - golden[f'{options.case}/linear']).max():.3g}")  # noqa: T201
    else:
        np.savez_compressed(GOLDEN, **{key: value for case in CASES for key, value in golden_of(case).items()})


if __name__ == "__main__":
    main()

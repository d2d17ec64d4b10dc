"""Networks, losses and metrics are Keras alone: on JAX, in a process without TensorFlow, they give the same values."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY, cli_environment

CLASSES = 4
LOSSES = ("cross_entropy", "cce_dice_loss", "focal", "binary_focal", "hard_pixels", "dice", "jaccard", "tversky",
          "lovasz_softmax")  # fmt: skip


def fill(model):
    """Weights by a seeded rule, small enough that float32 keeps 1e-5."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        fan_in = max(int(np.prod(variable.shape[:-1])), 1)
        noise = random.normal(0, 1 / np.sqrt(fan_in), variable.shape)
        if len(variable.shape) == 1:
            noise = random.uniform(0.8, 1.2, variable.shape) - (variable.name in ("beta", "bias", "moving_mean"))
        variable.assign(noise.astype(np.float32))
    return model


def values():
    """Name → number or list, on whichever backend Keras runs."""
    import keras
    from pydantic import TypeAdapter

    from model import CANet, Unet
    from model.losses import LossTerm
    from model.metrics import confusion
    from model.outputs import logits_model

    random = np.random.default_rng(1)
    images = random.uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)
    masks = random.integers(0, CLASSES, (1, 32, 64))
    masks[:, :, 50:] = 255
    networks = {
        "unet": Unet("resnet18", classes=CLASSES, encoder_weights=None, decoder_filters=(8, 8, 8, 4, 4)),
        "canet": CANet("resnet34", classes=CLASSES),
        "canet_compact": CANet("compact", classes=CLASSES),
    }
    found = {}
    for name, model in networks.items():
        logits = keras.ops.convert_to_numpy(logits_model(fill(model))(images, training=False))
        found[name] = (logits / np.abs(logits).max()).ravel()[::97].tolist()
    logits = random.normal(size=(1, 32, 64, CLASSES)).astype(np.float32)
    logits[masks == 255] = np.nan
    for name in LOSSES:
        loss = TypeAdapter(LossTerm).validate_python({"name": name}).build((1.0, 2.0, 0.5, 1.5))
        found[name] = float(loss(masks, logits, activation="softmax"))
    predicted = np.nan_to_num(logits).argmax(-1)
    found["confusion"] = np.asarray(keras.ops.convert_to_numpy(confusion(masks, predicted, CLASSES))).tolist()
    return found


PROGRAM = """
import json, sys
from tests.test_backends import values
found = values()
import keras
found["backend"] = keras.backend.backend()
found["tensorflow"] = "tensorflow" in sys.modules
sys.stdout.write(json.dumps(found))
"""


def test_values_on_jax_are_those_on_tensorflow(tensorflow_ready):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: python -m pip install 'jax[cpu]'")
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=cli_environment({"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    on_jax = json.loads(run.stdout)
    assert on_jax.pop("backend") == "jax"
    assert not on_jax.pop("tensorflow")
    on_tensorflow = values()
    assert on_jax.keys() == on_tensorflow.keys()
    for name, value in on_tensorflow.items():
        np.testing.assert_allclose(on_jax[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "name",
    [
        *("scored", "losses", "pixel_losses", "overlap_losses", "metrics", "boundary"),
        *("outputs", "enlarging", "dilated", "canet", "canet_compact", "resnet", "unet"),
    ],
)
def test_no_file_of_networks_losses_and_metrics_imports_tensorflow(name):
    from tests.test_layering import imported

    assert not any(module.split(".")[0] == "tensorflow" for module in imported(REPOSITORY / "model" / f"{name}.py"))

"""Networks, losses and metrics in native Keras; training, evaluation and prediction."""

import os
from typing import Any

# Must be set before TensorFlow is loaded: its start-up lines would bury ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__all__ = ["CANet", "Unet"]


def __getattr__(name: str) -> Any:
    if name == "Unet":
        from model.unet import Unet

        return Unet
    if name == "CANet":
        from model.canet import CANet

        return CANet
    raise AttributeError(f"module 'model' has no attribute '{name}'")

"""Mixed precision: convolutions in 16 bits; weights, normalised input, logits and the loss in 32.

``bfloat16`` has float32's range and pays on GPUs and on CPUs with AMX; ``float16`` has more digits and a range so
small that the loss must be scaled. Keras' dtype policies do the rest: every layer that names no policy of its own
takes that of the moment in which it was built.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""``auto`` is bfloat16 where the device has instructions for it, else float32."""
BFLOAT16_GPU = (8, 0)
"""The compute capability from which NVIDIA's GPUs multiply matrices of bfloat16."""


def chosen(precision: Precision, cpuinfo: Path = Path("/proc/cpuinfo")) -> Precision:
    """What ``auto`` is on this machine; any other is itself.

    Without AMX a CPU is slower in bfloat16 than in float32, and only Linux tells whether it has it.
    """
    if precision != "auto":
        return precision
    if gpus := tf.config.list_physical_devices("GPU"):
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        native = all(detail.get("compute_capability", (0, 0)) >= BFLOAT16_GPU for detail in details)
    else:
        native = cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text(errors="replace").split()
    return "bfloat16" if native else "float32"


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Networks built inside compute in this precision."""
    before, precision = keras.config.dtype_policy(), chosen(precision)
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def full() -> str:
    """The type of the weights, for layers that compute in it whatever the others do: the first and the last ones."""
    return str(keras.config.dtype_policy().variable_dtype)

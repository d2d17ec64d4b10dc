"""Mixed precision: convolutions in 16 bits; weights, normalised input, logits and the loss in 32.

``bfloat16`` has float32's range and pays on GPUs and on CPUs with AMX; ``float16`` has more digits and a range so
small that the loss must be scaled. Keras' dtype policies do the rest: every layer that names no policy of its own
takes that of the moment in which it was built.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import keras

Precision = Literal["float32", "bfloat16", "float16"]


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Networks built inside compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def full() -> str:
    """The type of the weights, for layers that compute in it whatever the others do: the first and the last ones."""
    return str(keras.config.dtype_policy().variable_dtype)

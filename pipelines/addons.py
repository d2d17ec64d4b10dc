"""The image half of tensorflow-addons, which the package's own ``import`` no longer reaches.

tensorflow-addons 0.23 is the last release. Its ``__init__`` imports optimizers that TensorFlow ≥ 2.16 refuses, and
its type hints want a module that Keras 3 no longer has. Its image functions are plain TensorFlow and still run: the
package is entered under its own name without running its ``__init__``, and the missing module is stood in for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

PACKAGE = "tensorflow_addons"
_MISSING = "keras.src.engine.keras_tensor"


def installed() -> bool:
    """Whether tensorflow-addons is there; it has no wheels for Python 3.12 and later."""
    return PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None


def image_module(name: str) -> ModuleType:
    """One module of ``tensorflow_addons.image``, such as ``filters``.

    Raises:
      ModuleNotFoundError: tensorflow-addons is not installed.
    """
    if PACKAGE not in sys.modules:
        _enter()
    return importlib.import_module(f"{PACKAGE}.image.{name}")


def _enter() -> None:
    """Put a bare package into ``sys.modules``, and for the time of its first imports what they look for in Keras."""
    import keras

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named '{PACKAGE}'", name=PACKAGE)
    package = ModuleType(PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    tensor_module = ModuleType(_MISSING)
    tensor_module.KerasTensor = keras.KerasTensor  # type: ignore[attr-defined]
    engine = ModuleType(_MISSING.rpartition(".")[0])
    engine.keras_tensor = tensor_module  # type: ignore[attr-defined]
    stand_ins = {engine.__name__: engine, tensor_module.__name__: tensor_module}
    sys.modules.update({PACKAGE: package, **stand_ins})
    try:
        importlib.import_module(f"{PACKAGE}.image")
    except BaseException:
        del sys.modules[PACKAGE]
        raise
    finally:
        for name in stand_ins:
            del sys.modules[name]

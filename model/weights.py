"""Weight files in the HDF5 layout of Keras 2, which segmentation_models and Keras Applications publish and write.

A file holds one group a layer and in it the layer's variables, ``conv0/conv0/kernel:0``; a whole saved model has the
same below ``model_weights``. Layers are found by name and variables by the last part of theirs. Nothing is skipped in
silence: a layer that the file lacks, or holds in another shape, is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import keras
import numpy as np

from configs.commands import UserError

LayerWeights = dict[str, dict[str, np.ndarray]]
_NAMED = 3
"""So many missing layers are named; the others are counted."""


def load_encoder(layers: keras.Model | Iterable[keras.layers.Layer], path: str | Path) -> None:
    """Set the weights of an encoder's layers from a file that may hold others too: a head, or a decoder.

    Args:
      layers: a model, or the layers that must be in the file (those without weights are passed over).
      path: HDF5 in Keras 2's layout.

    Raises:
      UserError: no such file, not HDF5, or a layer is missing or has another shape; no weight is changed then.
    """
    chosen = layers.layers if isinstance(layers, keras.Model) else layers
    _assign([layer for layer in chosen if layer.weights], read_legacy_weights(path), path)


def load_legacy_weights(model: keras.Model, path: str | Path) -> None:
    """Set all weights of a model from a file of exactly this model's layers.

    Raises:
      UserError: as `load_encoder`, and when the file holds weights of a layer that the model lacks.
    """
    layers, stored = _weighted(model), read_legacy_weights(path)
    foreign = [name for name in stored if name not in {layer.name for layer in layers}]
    if foreign:
        raise UserError(f"{path}: it is of another network: this one has no {_listed(foreign)}")
    _assign(layers, stored, path)


def save_legacy_weights(model: keras.Model, path: str | Path) -> None:
    """Write a model's weights as Keras 2's ``save_weights("x.h5")`` does, for it and its libraries to load.

    Keras 2 matches by position unless told otherwise, so the layers are written in the model's order.
    """
    layers = _weighted(model)
    with h5py.File(path, "w") as file:
        file.attrs.update(backend=b"tensorflow", keras_version=b"2.15.0")
        file.attrs["layer_names"] = _encoded(layer.name for layer in layers)
        for layer in layers:
            group = file.create_group(layer.name)
            variables = {f"{layer.name}/{v.name}:0": v for v in layer.trainable_weights + layer.non_trainable_weights}
            group.attrs["weight_names"] = _encoded(variables)
            for name, variable in variables.items():
                group[name] = keras.ops.convert_to_numpy(variable)


def read_legacy_weights(path: str | Path) -> LayerWeights:
    """All weights of a file: layer name → variable name (``kernel``, ``moving_mean``, …) → array.

    Raises:
      UserError: there is no such file, or it is not HDF5.
    """
    weights: LayerWeights = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        layer, _, rest = name.partition("/")
        if isinstance(item, h5py.Dataset) and layer != "top_level_model_weights":
            weights.setdefault(layer, {})[rest.rpartition("/")[2].partition(":")[0]] = item[()]

    try:
        with h5py.File(path, "r") as file:
            # Follows no links, so that no file can make us read another.
            file.get("model_weights", file).visititems(visit)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file of weights") from None
    except OSError as error:
        raise UserError(f"{path}: it cannot be read as a file of weights in HDF5 ({error})") from error
    return weights


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _assign(layers: Sequence[keras.layers.Layer], stored: LayerWeights, path: str | Path) -> None:
    """All or nothing: every layer is looked at before the first is changed."""
    missing = [layer.name for layer in layers if layer.name not in stored]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(layers)} layers with weights are not in it: {_listed(missing)}"
        )
    for layer in layers:
        _check_layer(layer, stored[layer.name], path)
    for layer in layers:
        for variable in layer.weights:
            variable.assign(stored[layer.name][variable.name])


def _check_layer(layer: keras.layers.Layer, stored: Mapping[str, np.ndarray], path: str | Path) -> None:
    """The file's variables of a layer must be the layer's, by name and shape."""
    shapes = {variable.name: tuple(variable.shape) for variable in layer.weights}
    if set(shapes) != set(stored):
        there, here = (", ".join(sorted(names)) for names in (stored, shapes))
        raise UserError(f"{path}: layer '{layer.name}' has {there} in it, the network's {here}")
    for name, value in stored.items():
        if value.shape != shapes[name]:
            raise UserError(
                f"{path}: '{name}' of layer '{layer.name}' has shape {value.shape}, the network's {shapes[name]}"
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _encoded(names: Iterable[str]) -> np.ndarray:
    return np.array([name.encode() for name in names])

"""A network's outputs before their activation, which is where losses and scoring read them.

A network ends in one activation layer, or in two where it has an auxiliary head: the first is the main one.
"""

from __future__ import annotations

import keras


def logits_model(model: keras.Model) -> keras.Model:
    """The network, sharing all weights, without its last activation: (B, H, W, 3) → logits (B, H, W, classes).

    An auxiliary head is left out: this is what is evaluated and exported.
    """
    return keras.Model(model.input, _logits(model)[0], name=f"{model.name}_logits")


def training_model(model: keras.Model) -> keras.Model:
    """The network that is trained: as `logits_model`, but with an auxiliary head it gives a list of two."""
    logits = _logits(model)
    return keras.Model(model.input, logits if len(logits) > 1 else logits[0], name=f"{model.name}_training")


def _logits(model: keras.Model) -> list[keras.KerasTensor]:
    return [model.get_layer(name).input for name in model.output_names]

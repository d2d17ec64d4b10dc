"""Augmentation on the device, inside the training step: draw, move, recolour, then operations by name.

Images are RGB 0..255 on the way in and out (normalisation is the network's first layer); masks hold class
ids and 255, and are only ever moved by nearest neighbour, so no id is invented.

Every random number is a function of (seed, step, replica) and the place in the batch: replicas differ, a
run can be repeated, and one that goes on continues the sequence.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from pydantic import field_validator, model_validator

from configs.commands import did_you_mean
from configs.loading import read_yaml
from pipelines import ops_addons, ops_keras_cv, ops_own  # noqa: F401  (once imported, operations are known by name)
from pipelines.color import ColorDraws, ColorOptions, draw_color, recolor
from pipelines.geometry import GeometryDraws, GeometryOptions, Size, draw_geometry, move
from pipelines.ops_base import Drawn, Operation, Operations
from pipelines.random_key import RandomKey

RECIPES = Path(__file__).parent.parent / "configs" / "augmentations"
DEFAULT_RECIPE = "street"
_OPERATIONS = 4  # place of the key; geometry and colour take purposes 0 to 3


class AugmentOptions(GeometryOptions, ColorOptions):
    """Section ``augment`` of a training recipe: a named recipe, and keys that override its own.

    ``{recipe: street, rotate: 10}`` is configs/augmentations/street.yaml with another turn. ``ops`` replaces the
    named recipe's whole list.
    """

    recipe: str = DEFAULT_RECIPE
    ops: Operations = ()
    """Applied one after the other, after geometry and colour."""

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_the_named_recipe(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("recipe", DEFAULT_RECIPE)
        return {**named_recipe(name), **given} if name in recipe_names() else given

    @field_validator("recipe")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in recipe_names():
            hint = did_you_mean(value, recipe_names()) or f"; there are {', '.join(recipe_names())}"
            raise ValueError(f"no such augmentation{hint}")
        return value


@cache
def recipe_names() -> tuple[str, ...]:
    """Names of the recipes in configs/augmentations, sorted."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


@cache
def named_recipe(name: str) -> dict[str, Any]:
    """The keys of a recipe in configs/augmentations."""
    return read_yaml(RECIPES / f"{name}.yaml")


class Draws(NamedTuple):
    """All that was drawn for a batch, before a pixel was touched."""

    geometry: GeometryDraws
    color: ColorDraws
    operations: tuple[Drawn, ...]


class Augmentation:
    """The augmentation that a recipe describes, ready to be called in a graph on any replica.

    Made outside the graph, for some operations hold layers of keras-cv. It has no state.
    """

    def __init__(self, options: AugmentOptions) -> None:
        self.options = options
        self._operations = [operation.prepare() for operation in options.ops]

    def __call__(self, images: tf.Tensor, masks: tf.Tensor, key: RandomKey) -> tuple[tf.Tensor, tf.Tensor]:
        """Augment one batch.

        Args:
          images: uint8 (B, H, W, 3), RGB.
          masks: uint8 (B, H, W), class ids; 255 is ignored.
          key: what the random numbers are a function of.

        Returns:
          float32 (B, h, w, 3) in 0..255 and uint8 (B, h, w), with (h, w) = options.crop or (H, W).
        """
        images, masks = tf.convert_to_tensor(images), tf.convert_to_tensor(masks)
        return self.apply(images, masks, self.draw(tf.shape(images)[0], tuple(masks.shape[1:]), key))

    def draw(self, batch: tf.Tensor | int, size: Size, key: RandomKey) -> Draws:
        """What happens to each image of a batch of images of (height, width) ``size``."""
        output = self.output_size(size)
        return Draws(
            geometry=draw_geometry(batch, output, self.options, key),
            color=draw_color(batch, self.options, key),
            operations=tuple(
                operation.draw(batch, output, key.within(_OPERATIONS + place))
                for place, operation in enumerate(self.options.ops)
            ),
        )

    def apply(self, images: tf.Tensor, masks: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
        """Do to a batch what was drawn for it; arguments and result as in a call."""
        size = tuple(masks.shape[1:])
        output = self.output_size(size)
        if self.options.moves or output != size:
            images, masks = move(images, masks, draws.geometry, output, self.options)
        images = tf.ensure_shape(tf.cast(images, tf.float32), [None, *output, 3])
        if self.options.recolors:
            images = recolor(images, draws.color, self.options)
        for operation, drawn in zip(self._operations, draws.operations, strict=True):
            images, masks = operation(images, masks, drawn)
        return images, masks

    def output_size(self, size: Size) -> Size:
        """(height, width) of what comes out."""
        return self.options.crop or size


def describe(draws: Draws, options: AugmentOptions, index: int) -> str:
    """What was drawn for one image of a batch, for people: ``flip, scale 1.12, rotate -3.1, hue 4.5``.

    What the options leave as it is, is left out.
    """
    parts = []
    for name, drawn in {**draws.geometry._asdict(), **draws.color._asdict()}.items():
        if not getattr(options, _SWITCHES.get(name, name), None) or (name == "scale" and options.scale == (1.0, 1.0)):
            continue
        if drawn.dtype != tf.bool:
            parts.append(f"{name.replace('_', ' ')} {_numbers(drawn[index])}")
        elif bool(drawn[index]):
            parts.append(name.replace("_", " "))
    for operation, drawn in zip(options.ops, draws.operations, strict=True):
        parts += _describe_operation(operation, drawn, index)
    return ", ".join(parts) or "nothing"


_SWITCHES = {"place": "translate", "field": "", "noise_seed": ""}
"""Draws that are no option of the same name → the option that turns them on, or none."""


def _describe_operation(operation: Operation, drawn: Drawn, index: int) -> list[str]:
    """The operation, or those inside it, if it hits the image."""
    if not bool(drawn.hit[index]):
        return []
    if isinstance(operation, ops_own.OneOf):
        inner = zip(operation.ops, drawn.children, strict=True)
        return [text for one, child in inner for text in _describe_operation(one, child, index)]
    values = [f" {name} {_numbers(tensor[index])}" for name, tensor in drawn.values.items() if tensor.shape.rank <= 2]
    return [operation.name.rpartition("/")[2] + "".join(values)]


def _numbers(tensor: tf.Tensor) -> str:
    """A scalar or a short row of numbers, to three digits."""
    return "/".join(f"{float(value):.3g}" for value in tf.reshape(tensor, [-1]))

"""What an operation of a recipe's ``augment.ops`` is: parameters, draws, and the function that applies them.

    ops:
      - {op: keras_cv/RandomCutout, height_factor: 0.2, width_factor: 0.2, probability: 0.3}
      - {op: one_of, ops: [{op: emboss}, {op: sharpen, lightness: 1.5}]}

An operation draws first and is applied afterwards. All it draws is a function of our key, with a row an image,
so it has no state, whatever library works on the pixels; and only images that it hits are touched. Images are
float32 (B, h, w, 3) in 0..255, masks uint8 (B, h, w). An operation that moves pixels moves the mask alike; one
that hides pixels makes them 255 in the mask: what nobody can see is not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import tensorflow as tf
from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationError

from configs.commands import did_you_mean
from configs.loading import Config
from pipelines.geometry import Size
from pipelines.random_key import RandomKey

Batch = tuple[tf.Tensor, tf.Tensor]

OPERATIONS: dict[str, type[Operation]] = {}
"""Every operation that the tests prove, by its name in a recipe."""
NOT_PROVEN: dict[str, str] = {}
"""Names that people will look for and that are refused → what to use instead."""


class Drawn(NamedTuple):
    """What one operation drew for a batch of B."""

    hit: tf.Tensor
    """bool (B,): which images it is applied to."""
    values: Mapping[str, tf.Tensor]
    """Tensors with a row for each image."""
    children: tuple[Drawn, ...] = ()
    """Of the operations inside this one."""


Apply = Callable[[tf.Tensor, tf.Tensor, Drawn], Batch]
"""(images, masks, drawn) → (images, masks), for images that are all hit."""


_RANGE_EXPECTED = "expected a number, or [least, most] with 0 <= least <= most"


def _as_range(value: Any) -> Any:
    if isinstance(value, (int, float)):
        return 0.0, value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(_RANGE_EXPECTED)
    return value


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 <= value[0] <= value[1]:
        raise ValueError(_RANGE_EXPECTED)
    return value


def _at_most_one(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > 1.0:
        raise ValueError("expected at most 1")
    return value


Range = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_in_order)]
"""[least, most] from which a value is drawn uniformly; a single number f is [0, f], as in keras-cv."""
Share = Annotated[Range, AfterValidator(_at_most_one)]
"""A range within 0..1."""


class Operation(Config):
    """Base of all operations: parameters, the draws, and what makes the function that applies them."""

    name: ClassVar[str] = ""
    op: str
    """The name."""
    probability: float = Field(default=1.0, ge=0.0, le=1.0)
    """That an image is hit."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Every subclass with a name is an operation that recipes can name."""
        if "name" in vars(cls):
            OPERATIONS[cls.name] = cls

    def draw(self, batch: tf.Tensor, size: Size, key: RandomKey) -> Drawn:
        """Draw for a batch of images of (height, width) ``size``."""
        return Drawn(key.chance(batch, self.probability, purpose=0), self.draw_values(batch, size, key))

    def draw_values(self, batch: tf.Tensor, size: Size, key: RandomKey) -> dict[str, tf.Tensor]:
        """What is drawn besides the hits."""
        return {}

    def build(self) -> Apply:
        """Make what is needed, outside any graph, and give the function that applies what was drawn."""
        raise NotImplementedError

    def prepare(self) -> Apply:
        """As `build`, for batches of which only some images are hit."""
        return on_hits(self.build())


def on_hits(apply: Apply) -> Apply:
    """Apply only to the images that are hit, and do nothing at all when none is."""

    def apply_to_hits(images: tf.Tensor, masks: tf.Tensor, drawn: Drawn) -> Batch:
        def some() -> Batch:
            hits = tf.where(drawn.hit)
            chosen = tf.nest.map_structure(lambda tensor: tf.gather(tensor, hits[:, 0]), (images, masks, drawn))
            changed, changed_masks = apply(*chosen)
            changed = tf.clip_by_value(changed, 0.0, 255.0)
            return (
                tf.tensor_scatter_nd_update(images, hits, changed),
                masks if changed_masks is chosen[1] else tf.tensor_scatter_nd_update(masks, hits, changed_masks),
            )

        return tf.cond(tf.reduce_any(drawn.hit), some, lambda: (images, masks))

    return apply_to_hits


def uniform(key: RandomKey, batch: tf.Tensor, bounds: tuple[float, float], purpose: int) -> tf.Tensor:
    """float32 (batch,) between the bounds."""
    low, high = bounds
    return (low + high) / 2.0 + (high - low) / 2.0 * key.uniform((batch,), purpose)


def read_operation(value: Any) -> Operation:
    """An operation from its entry in a recipe.

    Raises:
      ValueError: no such operation, one that is not proven, or a wrong parameter.
    """
    if isinstance(value, Operation):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("op"), str):
        raise ValueError("expected {op: NAME, ...}")
    kind = OPERATIONS.get(value["op"])
    if kind is None:
        raise ValueError(_unknown(value["op"]))
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        raise ValueError(_wrong(kind, error)) from None


Operations = tuple[Annotated[SerializeAsAny[Operation], BeforeValidator(read_operation)], ...]
"""The type of a recipe's list of operations."""


def _unknown(name: str) -> str:
    if name in NOT_PROVEN:
        return f"{name} is not among the operations that are proven here; use {NOT_PROVEN[name]}"
    hint = did_you_mean(name, OPERATIONS) or f"; there are {', '.join(sorted(OPERATIONS))}"
    return f"there is no operation '{name}'{hint}"


def _wrong(kind: type[Operation], error: ValidationError) -> str:
    """One of an operation's errors as one line: a mistyped name before the parameter that is then missing."""
    first = min(error.errors(include_url=False), key=lambda one: one["type"] == "missing")
    place = ".".join(map(str, first["loc"]))
    parameters = [name for name in kind.model_fields if name != "op"]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(place, parameters) or f"; known here: {', '.join(parameters)}"
        return f"{kind.name} has no parameter '{place}'{hint}"
    if first["type"] == "missing":
        return f"{kind.name} needs '{place}'"
    if not place:
        return message
    return f"{kind.name}: {place} = {first['input']!r}: {message[:1].lower()}{message[1:]}"

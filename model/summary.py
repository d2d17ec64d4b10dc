"""What a recipe's network is made of: layers, parameters, operations and activations at an image size.

    python -m model.summary --config configs/idd21_canet.yaml --classes 21 --size 512x512

Operations are of one image through the network that is evaluated, without an auxiliary head. A
multiplication with its addition counts as two, an addition of a bias as one. Exactly counted are convolutions
(depthwise and transposed ones too) and dense layers, one a window's element in poolings, two a value in
batch normalisation and eight in group normalisation, three a value and axis in bilinear enlargement, and one
a value in activations, sums and products of maps. Padding, concatenation, repetition and cutting are none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from configs.commands import ArgumentParser, UserError, add_config_flags, parse_size, quiet_start, run_command, say

if TYPE_CHECKING:
    import keras

    from model.recipe import Recipe

BYTES = 4
"""Of a float32."""


class Row(NamedTuple):
    """One layer: the shape of its output without the batch, its parameters, operations and values of its output."""

    name: str
    kind: str
    shape: tuple[int, ...]
    trainable: int
    fixed: int
    operations: int

    @property
    def values(self) -> int:
        """Elements of the output."""
        return prod(self.shape)


def build_parser() -> ArgumentParser:
    """The command's flags."""
    parser = ArgumentParser(prog="python -m model.summary", description=__doc__)
    add_config_flags(parser, "configs/demo.yaml")
    parser.add_argument("--size", type=parse_size, default=(512, 512), metavar="HxW", help="default: 512x512")
    parser.add_argument("--classes", type=int, metavar="N", help="default: as many as the recipe's records have")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and print the table."""
    options = build_parser().parse_args(argv)
    with quiet_start():
        from configs.loading import load_config
        from model.outputs import logits_model
        from model.recipe import DEFAULT_RECIPE, Recipe, build_network, network_stride
        from pipelines.fitting import round_up

        recipe = load_config(Recipe, options.config or DEFAULT_RECIPE, options.overrides)
        classes = options.classes if options.classes is not None else _classes_of_records(recipe)
        if classes < 1:
            raise UserError(f"--classes {classes}: expected 1 or more")
        size = round_up(options.size, network_stride(recipe.model))
        whole = build_network(recipe.model.model_copy(update={"encoder_weights": None}), classes)
        network = at_size(logits_model(whole), size)
    rows = layer_rows(network)
    print_rows(rows)
    say(f"{recipe.model.title}, {classes} classes, image {size[0]}x{size[1]}")
    print_totals(rows, whole.count_params() - network.count_params())


def at_size(network: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The network for one image size, so that the shapes of all its layers are known."""
    import keras

    image = keras.layers.Input((*size, network.input_shape[-1]), name="data")
    return keras.models.clone_model(network, input_tensors=image)


def layer_rows(network: keras.Model) -> list[Row]:
    """A row for each layer of a network whose shapes are known."""
    return [_row(operation) for operation in network.operations]


def print_rows(rows: Iterable[Row]) -> None:
    """The table of layers."""
    say(f"{'layer':<30}{'kind':<24}{'output':>16}{'parameters':>13}{'MFLOP':>12}")
    for row in rows:
        shape = "x".join(map(str, row.shape))
        parameters = f"{row.trainable + row.fixed:,}" if row.trainable + row.fixed else ""
        operations = f"{row.operations / 1e6:,.2f}" if row.operations else ""
        say(f"{row.name:<30}{row.kind:<24}{shape:>16}{parameters:>13}{operations:>12}")


def print_totals(rows: Sequence[Row], auxiliary: int) -> None:
    """Sums over all layers; ``auxiliary`` is the number of parameters that are there in training only."""
    trainable, fixed = sum(row.trainable for row in rows), sum(row.fixed for row in rows)
    values = sum(row.values for row in rows)
    say(f"parameters   {trainable + fixed:>15,}   {trainable:,} trainable, {fixed:,} not")
    if auxiliary:
        say(f"             {auxiliary:>15,}   more in the auxiliary head, in training only")
    say(f"FLOPs        {sum(row.operations for row in rows):>15,}   an image; a multiply-add is two")
    say(f"activations  {BYTES * values / 2**20:>11,.1f} MiB   an image, the outputs of all layers in float32")


def _classes_of_records(recipe: Recipe) -> int:
    from pipelines.manifest import read_manifest

    try:
        return len(read_manifest(recipe.data.records).taxonomy.classes)
    except UserError as error:
        raise UserError(f"{error}; or pass --classes N") from None


def _row(operation: keras.Operation) -> Row:
    count = lambda weights: sum(prod(weight.shape) for weight in weights)  # noqa: E731
    return Row(
        operation.name,
        type(operation).__name__,
        tuple(operation.output.shape[1:]),
        count(getattr(operation, "trainable_weights", ())),
        count(getattr(operation, "non_trainable_weights", ())),
        operations_of(operation),
    )


def operations_of(layer: keras.Operation) -> int:
    """Floating-point operations of a layer for one image, as the head of this file counts them.

    Raises:
      NotImplementedError: a kind of layer that no network of ours has.
    """
    from keras import layers

    from model.enlarging import Enlarge, EnlargeLike

    values = prod(layer.output.shape[1:])
    if isinstance(layer, layers.DepthwiseConv2D):
        return 2 * values * prod(layer.kernel_size) + layer.use_bias * values
    if isinstance(layer, layers.Conv2DTranspose):
        inputs = prod(layer.input.shape[1:])
        return 2 * inputs * prod(layer.kernel_size) * layer.filters + layer.use_bias * values
    if isinstance(layer, layers.Conv2D):
        depth = layer.input.shape[-1] // layer.groups
        return 2 * values * prod(layer.kernel_size) * depth + layer.use_bias * values
    if isinstance(layer, layers.Dense):
        return 2 * values * layer.input.shape[-1] + layer.use_bias * values
    if isinstance(layer, layers.BatchNormalization | layers.Rescaling):
        return 2 * values
    if isinstance(layer, layers.GroupNormalization):
        return 8 * values
    if isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        return values * prod(layer.pool_size)
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return prod(layer.input.shape[1:])
    if isinstance(layer, Enlarge | EnlargeLike):
        small = layer.input[0] if isinstance(layer, EnlargeLike) else layer.input
        return 3 * prod(small.shape[1:]) * (layer.factor + layer.factor**2)
    if isinstance(layer, layers.Activation):
        return values
    if isinstance(layer, layers.Add | layers.Multiply):
        return (len(layer.input) - 1) * values
    if type(layer).__name__ in _FREE:
        return 0
    raise NotImplementedError(f"operations of a {type(layer).__name__} ('{layer.name}') are not known")


_FREE = {"InputLayer", "ZeroPadding2D", "Concatenate", "UpSampling2D", "Dropout", "SpreadLike", "Flip"}


if __name__ == "__main__":
    sys.exit(run_command(main))

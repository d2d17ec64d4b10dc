"""Train a segmentation network on records.

    python -m model.train --strategy mirrored                 # configs/demo.yaml on data/records
    python -m model.train --config configs/camvid_unet.yaml --set train.epochs=10
    python -m model.train --run runs/demo --resume

Writes a run folder: recipe, checkpoints, TensorBoard, metrics.csv. Ctrl-C saves and exits with code 75;
--resume goes on from the last checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.commands import (
    ArgumentParser,
    UserError,
    add_config_flags,
    native_stderr_to,
    parse_steps,
    quiet_start,
    run_command,
    say,
)
from configs.memory import keep_freed_memory

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("none", "mirrored")


def build_parser() -> ArgumentParser:
    """The flags that people type every day; all other options go through ``--set``."""
    parser = ArgumentParser(prog="python -m model.train", description=__doc__)
    add_config_flags(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of records (default: data/records)")
    parser.add_argument(
        "--run", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME, the next free one)"
    )
    parser.add_argument(
        "--strategy", choices=STRATEGIES, default="none", help="mirrored: all GPUs, or the logical CPU devices"
    )
    parser.add_argument(
        "--logical-devices", type=int, metavar="N", help="split the CPU into N devices, to try mirrored without GPUs"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint, or start if there is none"
    )
    parser.add_argument("--overwrite", action="store_true", help="remove the run that is there and start again")
    parser.add_argument(
        "--profile",
        type=parse_steps,
        metavar="A:B",
        help="TensorBoard profile of the run's steps A to B; pip install tensorboard-plugin-profile shows it",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    options = build_parser().parse_args(argv)
    if options.resume and options.overwrite:
        raise UserError("--resume and --overwrite: choose one")
    # TensorFlow takes seconds to load: a mistyped flag is told before.
    with quiet_start():
        from configs.loading import load_config
        from model.checkpoints import last_checkpoint
        from model.profiling import check_profiled
        from model.recipe import DEFAULT_RECIPE, Recipe, build_loss, fetch_encoder_weights, network_stride
        from model.runs import check_same_recipe, choose_folder, create_run, open_run
        from model.training import train
        from pipelines.dataset import open_records
        from pipelines.input import make_fitting

        keep_freed_memory()
        strategy = make_strategy(options.strategy, options.logical_devices)
    recipe = load_config(Recipe, options.config or DEFAULT_RECIPE, options.overrides, {"data.records": options.data})
    records = open_records(recipe.data.records, recipe.data.verify)
    for split in (recipe.data.train_split, recipe.data.val_split):
        if not records.count(split):
            raise UserError(f"{recipe.data.records}: split '{split}' has no records")
    height, width = make_fitting(records.manifest, recipe.data, network_stride(recipe.model)).canvas
    folder = choose_folder(recipe.name, options.run, options.resume, options.overwrite)
    checkpoint = None
    if options.resume and folder.exists():
        run = open_run(folder)
        check_same_recipe(run, recipe, records.manifest)
        checkpoint = last_checkpoint(run.checkpoints)
        run = run._replace(recipe=recipe)
    if options.profile:
        steps_per_epoch = -(-records.count(recipe.data.train_split) // recipe.train.batch_size)
        done = checkpoint.state.step if checkpoint else 0
        check_profiled(options.profile, done, recipe.train.epochs * steps_per_epoch)
    if checkpoint is None:
        fetch_encoder_weights(recipe.model)
        if options.resume:
            say(f"--resume: no checkpoint in {folder} yet; starting from the beginning")
        run = create_run(folder, recipe, records.manifest)
    say(
        f"{recipe.model.title}, {records.count(recipe.data.train_split)} training images at "
        f"{height}x{width}, {strategy.num_replicas_in_sync} replica(s), run {folder}"
        + (f", from step {checkpoint.state.step}" if checkpoint else "")
    )
    if build_loss(recipe.train, records.manifest).per_replica and strategy.num_replicas_in_sync > 1:
        say(
            "note: lovasz_softmax sorts pixels, and an order cannot be summed: each replica sorts its own, so the "
            "loss depends on the number of replicas, as no other loss does"
        )
    with native_stderr_to(folder / "train.log"):
        best = train(run, records, strategy, checkpoint, options.profile)
    say(f"best validation mIoU {best:.4f}; score it with: python -m model.evaluate --run {folder} --split val")
    say(f"watch the curves with: tensorboard --logdir {folder.parent}")


def make_strategy(name: str, logical_devices: int | None = None) -> tf.distribute.Strategy:
    """The distribution strategy: ``none`` is one device, ``mirrored`` all GPUs or all logical CPU devices.

    Raises:
      UserError: the CPU cannot be split that way.
    """
    import tensorflow as tf

    if logical_devices is not None:
        if logical_devices < 1:
            raise UserError(f"--logical-devices {logical_devices}: expected 1 or more")
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * logical_devices)
    tf.config.list_logical_devices()  # looks for devices now, while what that writes is held back
    if name == "none":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy([device.name for device in gpus or tf.config.list_logical_devices("CPU")])


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Train a segmentation network on records.

    python -m model.train --strategy mirrored                 # configs/demo.yaml on data/records
    python -m model.train --config configs/camvid_unet.yaml --set train.epochs=10
    python -m model.train --run runs/demo --resume

Writes a run folder: recipe, checkpoints, TensorBoard, metrics.csv. Ctrl-C saves and exits with code 75;
--resume goes on from the last checkpoint.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import nullcontext
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

    from model.checkpoints import Checkpoint
    from model.recipe import Recipe
    from model.runs import Run
    from pipelines.dataset import Records
    from pipelines.manifest import Manifest

STRATEGIES = ("none", "mirrored", "multi_worker")


def build_parser() -> ArgumentParser:
    """The flags that people type every day; all other options go through ``--set``."""
    parser = ArgumentParser(prog="python -m model.train", description=__doc__)
    add_config_flags(parser, "configs/demo.yaml; with --run and --resume the run's own")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of records (default: the recipe's)")
    parser.add_argument(
        "--run", type=Path, metavar="DIR", help="folder of the run (default: runs/NAME, the next free one)"
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="none (default): one device; mirrored: all GPUs, or the logical CPU devices; multi_worker: those of all "
        "processes in TF_CONFIG",
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
        help="TensorBoard profile of the run's steps A to B; to see it: pip install tensorboard-plugin-profile",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="the same bits each time, on GPUs too; slower there"
    )
    parser.add_argument(
        "--overfit-one-batch",
        action="store_true",
        help="train on the first batch alone, unaugmented: what cannot learn that has a mistake in it",
    )
    parser.add_argument(
        "--lr-find",
        action="store_true",
        help="make no run: try 100 steps of rising learning rate, and say at which one the loss fell fastest",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    options = build_parser().parse_args(argv)
    for other in ("overwrite", "overfit_one_batch"):
        if options.resume and getattr(options, other):
            raise UserError(f"--resume and --{other.replace('_', '-')}: choose one")
    if options.strategy == "multi_worker" and not (options.run or options.lr_find):
        raise UserError("--strategy multi_worker: name the run's folder, which all workers must see, by --run")
    # TensorFlow takes seconds to load: a mistyped flag is told before.
    with quiet_start():
        import tensorflow as tf

        from configs.loading import load_config
        from model.lr_find import find_learning_rate
        from model.recipe import Recipe
        from model.runs import CONFIG
        from model.workers import Workers, make_strategy
        from pipelines.dataset import open_records

        keep_freed_memory()
        strategy = make_strategy(options.strategy, options.logical_devices)
        if options.deterministic:
            tf.config.experimental.enable_op_determinism()
    if options.resume and options.run:
        Workers.of(strategy).agree((options.run / CONFIG).is_file(), f"--run {options.run}: whether there is a run")
    recipe = load_config(Recipe, _recipe_file(options), options.overrides, {"data.records": options.data})
    records = open_records(recipe.data.records, recipe.data.verify)
    for split in (recipe.data.train_split, recipe.data.val_split):
        if not records.count(split):
            raise UserError(f"{recipe.data.records}: split '{split}' has no records")
    if options.lr_find:
        rate = find_learning_rate(recipe, records, strategy)
        if Workers.of(strategy).first:
            say(f"the loss fell fastest at {rate:.1e}; try --set train.learning_rate={rate:.1e}")
    else:
        _train(options, recipe, records, strategy)


def _recipe_file(options: Namespace) -> Path:
    """The recipe that the user names, that of the run that goes on, or the demo's."""
    from model.recipe import DEFAULT_RECIPE
    from model.runs import CONFIG

    own = options.run / CONFIG if options.resume and options.run else None
    return options.config or (own if own and own.is_file() else DEFAULT_RECIPE)


def _train(options: Namespace, recipe: Recipe, records: Records, strategy: tf.distribute.Strategy) -> None:
    """Make the run's folder, or find where it goes on, and train to the end."""
    from configs.lock import locked
    from model.profiling import check_profiled
    from model.recipe import fetch_encoder_weights
    from model.runs import choose_folder, create_run, write_recipe
    from model.training import Training
    from model.workers import Workers

    workers = Workers.of(strategy)
    first = workers.first
    # The folder is the first worker's to judge and to hold; the others may find it half made.
    folder = choose_folder(recipe.name, options.run, options.resume, options.overwrite) if first else options.run
    with locked(folder, "--run", "training") if first else nullcontext():
        run, checkpoint = _find_run(folder, recipe, records.manifest, options.resume)
        done = checkpoint.state.step if checkpoint else 0
        workers.agree(done, f"--run {folder}: the step to go on from")
        if options.profile:
            steps_per_epoch = -(-records.count(recipe.data.train_split) // recipe.train.batch_size)
            check_profiled(options.profile, done, recipe.train.epochs * steps_per_epoch)
        _announce(run, records, strategy, checkpoint)
        if not checkpoint:
            fetch_encoder_weights(recipe.model)
        with quiet_start():
            training = Training(run, records, strategy, checkpoint, options.profile, options.overfit_one_batch)
        if first and checkpoint:
            write_recipe(folder, run.recipe)
        elif first:
            create_run(run)
        with native_stderr_to(folder / "train.log") if first else nullcontext():
            best = training.run_epochs()
    if first:
        say(f"best validation mIoU {best:.4f}; score it with: python -m model.evaluate --run {folder} --split val")
        say(f"watch the curves with: tensorboard --logdir {folder.parent}")


def _find_run(folder: Path, recipe: Recipe, manifest: Manifest, resume: bool) -> tuple[Run, Checkpoint | None]:
    """The run that this folder holds or will hold, and where it goes on, if it does."""
    from model.checkpoints import last_checkpoint
    from model.precision import chosen
    from model.recipe import settle_precision
    from model.runs import CONFIG, Run, check_same_recipe, open_run

    checkpoint, precision = None, chosen(recipe.train.precision)
    if resume and (folder / CONFIG).is_file():
        found = open_run(folder)
        # What was trained in one precision goes on in it, whatever `auto` is on this machine.
        precision = chosen(found.recipe.train.precision)
        recipe = settle_precision(recipe, precision)
        check_same_recipe(found._replace(recipe=settle_precision(found.recipe, precision)), recipe, manifest)
        checkpoint, damaged = last_checkpoint(found.checkpoints)
        for unusable, reason in damaged:
            say(f"--resume: {unusable} cannot be used ({reason}); going back to the one before")
        if damaged and checkpoint is None:  # starting again would remove what may still be mended
            raise UserError(
                f"--resume: all checkpoints in {found.checkpoints} are damaged; start again with --overwrite"
            )
    if resume and checkpoint is None:
        say(f"--resume: no checkpoint in {folder} yet; starting from the beginning")
    return Run(folder, settle_precision(recipe, precision), manifest), checkpoint


def _announce(run: Run, records: Records, strategy: tf.distribute.Strategy, checkpoint: Checkpoint | None) -> None:
    """Say what is trained where; a recipe that does not fit its records is told here, before anything is written."""
    from model.recipe import build_loss, network_stride
    from model.workers import Workers, devices_of
    from pipelines.input import make_fitting

    recipe, workers = run.recipe, Workers.of(strategy)
    height, width = make_fitting(run.manifest, recipe.data, network_stride(recipe.model)).canvas
    say(
        f"{recipe.model.title} in {recipe.train.precision}, "
        f"{records.count(recipe.data.train_split)} training images at {height}x{width}, "
        f"{strategy.num_replicas_in_sync} replica(s) on {', '.join(devices_of(strategy))}"
        + (f" of worker {workers.number + 1} of {workers.total}" if workers.total > 1 else "")
        + f", run {run.folder}"
        + (f", from step {checkpoint.state.step}" if checkpoint else "")
    )
    if build_loss(recipe.train, run.manifest).per_replica and strategy.num_replicas_in_sync > 1:
        say(
            "note: lovasz_softmax sorts pixels, and an order cannot be summed: each replica sorts its own, so the "
            "loss depends on the number of replicas, as no other loss does"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))

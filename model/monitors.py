"""What a person sees of a training run: a progress bar, ``metrics.csv`` and TensorBoard, as Keras callbacks."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.commands import progress_bar, say
from configs.loading import dump_yaml
from configs.taxonomy import Taxonomy
from model.recipe import network_stride
from model.runs import Run
from model.steps import at_own_size
from pipelines.dataset import Records
from pipelines.input import evaluation_batches, make_fitting, training_batches
from pipelines.pictures import colorize, sheet
from pipelines.preview import preview_sheet
from pipelines.records import decode_example, parse_example

TENSORBOARD = "tensorboard"
METRICS = "metrics.csv"


class Waiting:
    """Iterates over batches and adds up the seconds that this takes: time in which the device has nothing to do."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches, self.seconds = batches, 0.0

    def __iter__(self) -> Iterator[Any]:
        started, end = time.perf_counter(), object()
        iterator = iter(self._batches)
        while (batch := next(iterator, end)) is not end:
            self.seconds += time.perf_counter() - started
            yield batch
            started = time.perf_counter()
        self.seconds += time.perf_counter() - started


class ProgressBar(keras.callbacks.Callback):
    """One bar an epoch with loss and images/s, and one line at its end with mIoU."""

    def __init__(self, epochs: int, images: int, batch_size: int) -> None:
        super().__init__()
        self._epochs, self._images, self._batch_size = epochs, images, batch_size

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the epoch's bar, where the epoch is when it is resumed."""
        self._bar = progress_bar(self._images, "image", f"epoch {epoch + 1}/{self._epochs}")
        self._bar.update(int((logs or {}).get("batches_done", 0)) * self._batch_size)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar."""
        self._bar.set_postfix(loss=f"{(logs or {})['loss']:.4f}", refresh=False)
        self._bar.update(min(self._batch_size, self._images - int(self._bar.n)))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Replace the bar by one line."""
        self._bar.leave = False
        self._bar.close()
        logs = logs or {}
        validation = f"  val loss {logs['val_loss']:.4f}  val mIoU {logs['val_miou']:.4f}" if "val_miou" in logs else ""
        say(
            f"epoch {epoch + 1:>4}/{self._epochs}  loss {logs['loss']:.4f}  mIoU {logs['miou']:.4f}"
            f"{validation}  {logs['images_per_second']:.1f} images/s  "
            f"{100 * logs['data_wait']:.1f} % waiting for data"
        )


class MetricsFile(keras.callbacks.Callback):
    """``metrics.csv``: a line an epoch; on resume, lines after the checkpoint are dropped."""

    def __init__(self, folder: Path, taxonomy: Taxonomy, rows: int) -> None:
        super().__init__()
        self._path, self.rows = folder / METRICS, rows
        self._scalars = ["loss", "miou", "learning_rate", "images_per_second", "data_wait", "val_loss", "val_miou"]
        self._classes = taxonomy.class_names
        kept = self._path.read_text().splitlines(keepends=True)[: rows + 1] if rows else []
        with open(self._path, "w", newline="") as file:
            if not kept:
                csv.writer(file).writerow(["epoch", "step", *self._scalars, *(f"iou/{c}" for c in self._classes)])
            file.writelines(kept)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Append the epoch's line; what was not measured stays empty."""
        logs = logs or {}
        iou = logs.get("val_class_iou", [""] * len(self._classes))
        with open(self._path, "a", newline="") as file:
            csv.writer(file).writerow(
                [epoch + 1, int(logs["step"]), *(logs.get(key, "") for key in self._scalars), *iou]
            )
        self.rows += 1


class Curves(keras.callbacks.Callback):
    """TensorBoard: curves of train and validation, and the same few validation images at each evaluation.

    On resume, event files are cut back to their length at the checkpoint, so that no step is there twice.
    """

    def __init__(self, run: Run, records: Records, network: keras.Model, event_files: Mapping[str, int]) -> None:
        super().__init__()
        self._folder, self._taxonomy = run.folder / TENSORBOARD, records.manifest.taxonomy
        self._cut_back(event_files)
        self._writers = {
            name: tf.summary.create_file_writer(str(self._folder / name)) for name in ("train", "validation")
        }
        if not event_files:
            with self._writers["train"].as_default():
                tf.summary.text("recipe", f"```\n{dump_yaml(run.recipe)}```", step=0)
                if run.recipe.train.pictures:
                    tf.summary.image("augmentation", _augmented(run, records)[None], step=0)
        self._pictures = _Pictures(run, records, network) if run.recipe.train.pictures else None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the epoch's points; the step of all of them is the number of training steps done."""
        logs = logs or {}
        step = int(logs["step"])  # Keras turns all that is in logs into floats
        with self._writers["train"].as_default():
            for key in ("loss", "miou", "learning_rate", "images_per_second", "data_wait"):
                tf.summary.scalar(key, logs[key], step=step)
        if "val_miou" not in logs:
            return
        with self._writers["validation"].as_default():
            tf.summary.scalar("loss", logs["val_loss"], step=step)
            tf.summary.scalar("miou", logs["val_miou"], step=step)
            for name, value in zip(self._taxonomy.class_names, logs["val_class_iou"], strict=True):
                if np.isfinite(value):
                    tf.summary.scalar(f"iou/{name}", value, step=step)
            if self._pictures:
                tf.summary.image("input | truth | prediction", self._pictures.draw()[None], step=step)

    def flush(self) -> dict[str, int]:
        """Write everything to disk; event file below ``tensorboard/`` → its bytes."""
        for writer in self._writers.values():
            writer.flush()
        return {str(path.relative_to(self._folder)): path.stat().st_size for path in self._event_files()}

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _event_files(self) -> list[Path]:
        return sorted(self._folder.glob("*/events.out.tfevents.*"))

    def _cut_back(self, lengths: Mapping[str, int]) -> None:
        for path in self._event_files():
            length = lengths.get(str(path.relative_to(self._folder)))
            if length is None:
                path.unlink()
            else:
                with open(path, "r+b") as file:
                    file.truncate(length)


def _augmented(run: Run, records: Records) -> np.ndarray:
    """The first training images before and after augmentation, as in `pipelines.preview`."""
    recipe = run.recipe
    batches = training_batches(
        records,
        recipe.data,
        lambda: (0, 0),
        batch_size=recipe.train.pictures,
        stride=network_stride(recipe.model),
        seed=recipe.train.seed,
    )
    images, masks = next(iter(batches))
    return preview_sheet(images, masks, recipe.augment, records.manifest.taxonomy, recipe.train.seed, step=0)


class _Pictures:
    """The first validation images as one sheet: input, truth, prediction."""

    def __init__(self, run: Run, records: Records, network: keras.Model) -> None:
        self._taxonomy, self._network = records.manifest.taxonomy, network
        recipe = run.recipe
        self._fitting = make_fitting(records.manifest, recipe.data, network_stride(recipe.model))
        shard = next(shard for shard in records.shards(recipe.data.val_split) if shard.records)
        stored = tf.data.TFRecordDataset(str(records.folder / shard.file)).take(recipe.train.pictures)
        self._stored = [
            (image.numpy(), mask.numpy()) for image, mask in stored.map(lambda r: decode_example(parse_example(r)))
        ]
        fitted = evaluation_batches(records, recipe.data.val_split, self._fitting, batch_size=1)
        self._fitted = list(islice(fitted, len(self._stored)))

    def draw(self) -> np.ndarray:
        """uint8 (height, width, 3)."""
        rows = []
        for (image, mask), (fitted, like) in zip(self._stored, self._fitted, strict=True):
            logits = at_own_size(self._network, fitted, self._fitting, like)
            predicted = tf.argmax(logits, axis=-1)[0].numpy().astype(np.uint8)
            rows.append([image, colorize(mask, self._taxonomy), colorize(predicted, self._taxonomy)])
        return sheet(rows, ["input", "truth (black: not scored)", "prediction"], self._taxonomy)

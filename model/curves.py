"""TensorBoard's view of a run: curves, pictures and texts, all over the number of training steps done.

TensorBoard sorts tags by their first part and unfolds the first two: loss and mean IoU, by these names.

tensorboard/train/        loss, miou, run/…, pictures/augmentation; recipe and environment as text
            validation/   loss, miou, per_class_iou/<class>, pictures/confusion matrix, pictures/validation images
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.loading import dump_yaml
from model.confusion_picture import draw_confusion
from model.recipe import network_stride
from model.runs import ENVIRONMENT, Run
from model.validation_sheet import ValidationSheet
from pipelines.dataset import Records
from pipelines.input import training_batches
from pipelines.preview import preview_sheet

TENSORBOARD = "tensorboard"
TRAIN, VALIDATION = "train", "validation"

LOSS = "The recipe's loss: of train the mean over the epoch's steps, with augmentation; of validation over the split."
MIOU = (
    "Mean IoU of one confusion matrix over the classes that occur: of train counted while the epoch's weights were "
    "changing, on augmented images; of validation over the whole split at its own size."
)
OF_TRAINING = {
    "loss": ("loss", LOSS),
    "miou": ("miou", MIOU),
    "learning_rate": ("run/learning_rate", "At the end of the epoch."),
    "grad_norm": (
        "run/gradient_norm",
        "Global norm of the gradients before clipping, mean over the epoch's steps. A jump goes before a loss that is "
        "not finite.",
    ),
    "images_per_second": ("run/images_per_second", "Training images per second, evaluations left out."),
    "data_wait": (
        "run/data_wait",
        "Share of the epoch in which the device waited for data: more than a few percent, and the input pipeline is "
        "what limits the speed (docs/performance.md).",
    ),
}
"""Key of the epoch's logs → tag and what the curve says."""
SHEET = (
    "The same images at each evaluation, spread evenly over the split. Move the slider to see the network learn; "
    "a click on a picture shows it at its own size."
)
CONFUSION = "Rows are true classes, cells shares of their row in percent: where a class's pixels go."


class Curves(keras.callbacks.Callback):
    """Writes TensorBoard's event files.

    On resume they are cut back to their length at the checkpoint, so that no step is there twice.
    """

    def __init__(self, run: Run, records: Records, network: keras.Model, event_files: Mapping[str, int]) -> None:
        """``network`` gives logits; ``event_files`` is what `flush` gave at the checkpoint, empty for a new run."""
        super().__init__()
        self._folder, self._class_names = run.folder / TENSORBOARD, records.manifest.taxonomy.class_names
        self._cut_back(event_files)
        self._writers = {name: tf.summary.create_file_writer(str(self._folder / name)) for name in (TRAIN, VALIDATION)}
        if not event_files:
            with self._writers[TRAIN].as_default():
                _describe(run, records)
        self._sheet = ValidationSheet(run.recipe, records, network) if run.recipe.train.pictures else None

    @property
    def train_folder(self) -> Path:
        """The folder of the training half, into which a profile goes too."""
        return self._folder / TRAIN

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the epoch's points; the step of all of them is the number of training steps done."""
        logs = logs or {}
        step = int(logs["step"])  # Keras turns all that is in logs into floats
        with self._writers[TRAIN].as_default(step):
            for key, (tag, description) in OF_TRAINING.items():
                if key in logs:
                    tf.summary.scalar(tag, logs[key], description=description)
        if "val_miou" in logs:
            with self._writers[VALIDATION].as_default(step):
                self._write_validation(logs)

    def _write_validation(self, logs: Mapping[str, Any]) -> None:
        tf.summary.scalar("loss", logs["val_loss"], description=LOSS)
        tf.summary.scalar("miou", logs["val_miou"], description=MIOU)
        for name, value in zip(self._class_names, logs["val_class_iou"], strict=True):
            if np.isfinite(value):
                tf.summary.scalar(
                    f"per_class_iou/{name}", value, description=f"IoU of {name} over the validation split."
                )
        matrix = draw_confusion(logs["val_confusion"], self._class_names)
        tf.summary.image("pictures/confusion matrix", matrix[None], description=CONFUSION)
        if self._sheet:
            tf.summary.image("pictures/validation images", self._sheet.draw()[None], description=SHEET)

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


def _describe(run: Run, records: Records) -> None:
    """Write what is known before the first step: recipe, environment, augmented samples."""
    for name, text in (("recipe", dump_yaml(run.recipe)), ("environment", (run.folder / ENVIRONMENT).read_text())):
        tf.summary.text(name, f"```\n{text.strip()}\n```", step=0, description=f"The run's {name}, as in its folder.")
    if run.recipe.train.pictures:
        description = f"Training images before and after augmentation, recipe {run.recipe.augment.recipe}."
        tf.summary.image("pictures/augmentation", _augmented(run, records)[None], step=0, description=description)


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

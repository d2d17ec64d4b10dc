"""The training loop: epochs of steps, evaluations and checkpoints, driving ordinary Keras callbacks.

The loop owns the step counter from which all randomness follows. A checkpoint holds everything the rest
of the run depends on, so a resumed run does what the unbroken one would have done.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.commands import RunError, Stopped
from model.checkpoints import Checkpoint, State, load_weights, save_checkpoint
from model.curves import Curves
from model.metrics import ConfusionMatrix, class_iou, mean_iou
from model.monitors import MetricsFile, ProgressBar, Waiting
from model.outputs import logits_model, training_model
from model.profiling import ProfileSteps
from model.recipe import build_loss, build_network, build_optimizer, network_stride, training_loss
from model.runs import Run
from model.scoring import Scorer
from model.steps import distribute, make_training_step
from pipelines.dataset import Records
from pipelines.input import training_batches, training_cache


def train(
    run: Run,
    records: Records,
    strategy: tf.distribute.Strategy,
    resume_from: Checkpoint | None,
    profile: tuple[int, int] | None = None,
) -> float:
    """Train a run to its last epoch and return the best validation mIoU.

    Args:
      profile: first and last of the run's steps, counted from 1, of which TensorBoard's profile is taken.

    Raises:
      RunError: the loss is not finite.
      Stopped: a signal came; the state was saved.
    """
    return _Training(run, records, strategy, resume_from, profile).run_epochs()


class _Training:
    """A run in progress: network, optimizer, running sums and `State`."""

    def __init__(
        self,
        run: Run,
        records: Records,
        strategy: tf.distribute.Strategy,
        resume_from: Checkpoint | None,
        profile: tuple[int, int] | None,
    ) -> None:
        self.run, self.records, self.strategy = run, records, strategy
        recipe, taxonomy = run.recipe, records.manifest.taxonomy
        self.options = recipe.train
        self.images = records.count(recipe.data.train_split)
        self.batches_per_epoch = -(-self.images // self.options.batch_size)
        keras.utils.set_random_seed(self.options.seed)
        loss = build_loss(self.options, records.manifest)
        network_options = recipe.model
        if resume_from:  # whose weights replace the encoder's
            network_options = network_options.model_copy(update={"encoder_weights": None})
        with strategy.scope():
            self.model = build_network(
                network_options, len(taxonomy.classes), strategy.num_replicas_in_sync > 1, self.options.precision
            )
            optimizer = build_optimizer(self.options, self.options.epochs * self.batches_per_epoch)
            self.model.compile(optimizer=optimizer, jit_compile=False)
            optimizer.build(self.model.trainable_variables)
            network, trained_network = logits_model(self.model), training_model(self.model)
            self.confusion = ConfusionMatrix(len(taxonomy.classes))
        self.optimizer, self.loss_sum, self.state = optimizer, 0.0, State()
        if resume_from:
            self._restore(resume_from)
        batches = training_batches(
            records,
            recipe.data,
            lambda: (self.state.epoch, self.state.batches),
            batch_size=self.options.batch_size,
            stride=network_stride(recipe.model),
            seed=self.options.seed,
            replicas=strategy.num_replicas_in_sync,
            cache=training_cache(records, recipe.data, network_stride(recipe.model)),
        )
        self.batches = distribute(strategy, batches)
        self.scorer = Scorer(strategy, network, loss, recipe, records, recipe.data.val_split)
        self.step = make_training_step(
            strategy,
            trained_network,
            optimizer,
            training_loss(recipe.model, loss),
            recipe.model.activation,
            recipe.augment,
            self.options.seed,
            self.confusion,
            self.batches.element_spec,
        )
        self.metrics = MetricsFile(run.folder, taxonomy, self.state.metrics_rows)
        self.curves = Curves(run, records, network, self.state.event_files)
        bar = ProgressBar(self.options.epochs, self.images, self.options.batch_size, self.options.evaluate_every)
        watching = [
            bar,
            self.metrics,
            self.curves,
            *([ProfileSteps(self.curves.train_folder, profile)] if profile else []),
        ]
        self.callbacks = keras.callbacks.CallbackList(watching, model=self.model)

    def run_epochs(self) -> float:
        """All epochs that are left."""
        self.callbacks.on_train_begin()
        try:
            with _signals() as stopped:
                while self.state.epoch < self.options.epochs:
                    self._run_epoch(stopped)
        finally:  # also of a run that was stopped or failed: a profile is written, a bar is closed
            self.callbacks.on_train_end()
        return self.state.best_miou

    def _run_epoch(self, stopped: list[int]) -> None:
        started, first = time.monotonic(), self.state.batches
        self.callbacks.on_epoch_begin(self.state.epoch, {"batches_done": first})
        batches = Waiting(self.batches)
        # At most a hundred times an epoch, each time at the same step on all workers: reading adds up their counts.
        miou, miou_every = mean_iou(self.confusion.counts()), -(-self.batches_per_epoch // 100)
        for batch in batches:
            self.callbacks.on_train_batch_begin(self.state.batches, {"step": self.state.step})
            value = float(self.step(batch, tf.constant(self.state.step, tf.int32)))
            if not np.isfinite(value):
                raise RunError(
                    f"the loss is {value} at step {self.state.step} (epoch {self.state.epoch + 1}); the last good "
                    f"checkpoint is in {self.run.checkpoints}; try a smaller train.learning_rate"
                )
            self.loss_sum += value
            self.state = self.state.model_copy(update={"step": self.state.step + 1, "batches": self.state.batches + 1})
            if self.state.batches % miou_every == 0:
                miou = mean_iou(self.confusion.counts())
            logs = {
                "loss": self.loss_sum / self.state.batches,
                "miou": miou,
                "data_wait": batches.seconds / (time.monotonic() - started),
                "step": self.state.step,
            }
            self.callbacks.on_train_batch_end(self.state.batches - 1, logs)
            if stopped:
                self._save(best=False)
                raise Stopped(
                    f"by signal {stopped[0]} after step {self.state.step}; saved in {self.run.checkpoints}, "
                    f"go on with --run {self.run.folder} --resume"
                )
        trained = min(self.state.batches, self.batches_per_epoch) - first
        seconds = time.monotonic() - started
        self._end_epoch(trained * self.options.batch_size / seconds, batches.seconds / seconds)

    def _end_epoch(self, images_per_second: float, data_wait: float) -> None:
        """Evaluate when it is due, tell the callbacks, and save."""
        epoch = self.state.epoch
        logs: dict[str, Any] = {
            "loss": self.loss_sum / self.state.batches,
            "miou": mean_iou(self.confusion.counts()),
            "learning_rate": float(self.optimizer.learning_rate),
            "images_per_second": images_per_second,
            "data_wait": data_wait,
            "step": self.state.step,
        }
        due = (epoch + 1) % self.options.evaluate_every == 0 or epoch + 1 == self.options.epochs
        best = False
        if due:
            score = self.scorer()
            logs |= {"val_loss": score.loss, "val_miou": score.miou, "val_class_iou": class_iou(score.confusion)}
            logs["val_confusion"] = score.confusion
            best = score.miou > self.state.best_miou
        self.state = self.state.model_copy(
            update={
                "epoch": epoch + 1,
                "batches": 0,
                "best_miou": max(self.state.best_miou, logs.get("val_miou", -1.0)),
            }
        )
        self.loss_sum = 0.0
        self.confusion.reset_state()
        self.callbacks.on_epoch_end(epoch, logs)
        if due:
            self._save(best)

    def _save(self, best: bool) -> None:
        state = self.state.model_copy(
            update={
                "loss_sum": self.loss_sum,
                "confusion": tuple(map(tuple, self.confusion.counts().tolist())),
                "metrics_rows": self.metrics.rows,
                "event_files": self.curves.flush(),
            }
        )
        save_checkpoint(self.run.checkpoints, self.model, state, self.options.keep_checkpoints, best)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.state = checkpoint.state
        self.loss_sum = self.state.loss_sum
        with self.strategy.scope():
            load_weights(self.model, checkpoint)
            if self.state.confusion:
                self.confusion.matrix.assign(np.array(self.state.confusion, np.int64))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Numbers of the signals to stop (Ctrl-C, SIGTERM) that came; a second one interrupts at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

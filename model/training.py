"""The training loop: epochs of steps, evaluations and checkpoints, driving ordinary Keras callbacks.

The loop owns the step counter from which all randomness follows. A checkpoint holds everything the rest
of the run depends on, so a resumed run does what the unbroken one would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from configs.commands import RunError, Stopped, say
from model.checkpoints import Checkpoint, State, point_to_best, save_checkpoint
from model.curves import Curves
from model.learner import Learner
from model.metrics import class_iou, mean_iou
from model.monitors import MetricsFile, ProgressBar, Waiting
from model.profiling import ProfileSteps
from model.recipe import Recipe, network_stride
from model.runs import Run
from model.scoring import Score, Scorer
from model.signals import StopSignals
from model.steps import Trained, distribute
from model.workers import Workers
from pipelines.augment import AugmentOptions
from pipelines.dataset import Records
from pipelines.input import training_batches, training_cache
from pipelines.order import epoch_order
from pipelines.records import deserialize


def recipe_batches(
    recipe: Recipe, records: Records, workers: Workers, start: Callable[[], tuple[int, int]]
) -> tf.data.Dataset:
    """This worker's part of a recipe's training batches; ``start`` as in `training_batches`."""
    stride = network_stride(recipe.model)
    return training_batches(
        records,
        recipe.data,
        start,
        batch_size=recipe.train.batch_size,
        stride=stride,
        seed=recipe.train.seed,
        replicas=workers.replicas,
        worker=workers.number,
        workers=workers.total,
        cache=training_cache(records, recipe.data, stride),
    )


class Training:
    """A run in progress: what learns, its data, what watches it, and `State`."""

    def __init__(
        self,
        run: Run,
        records: Records,
        strategy: tf.distribute.Strategy,
        resume_from: Checkpoint | None = None,
        profile: tuple[int, int] | None = None,
        overfit_one_batch: bool = False,
    ) -> None:
        """Make all that a run needs, and write nothing yet.

        Args:
          run: under several workers the first alone writes to its folder.
          records: what it trains and is scored on.
          strategy: where.
          resume_from: the checkpoint to go on from.
          profile: first and last of the run's steps, counted from 1, of which TensorBoard's profile is taken.
          overfit_one_batch: train on the first batch alone, without augmentation, to see whether it can be learnt.

        Raises:
          UserError: recipe, records and machine do not fit together.
        """
        self.run, self.records, self.options = run, records, run.recipe.train
        self.profile, self.overfit_one_batch = profile, overfit_one_batch
        recipe, self.workers = run.recipe, Workers.of(strategy)
        self.images = records.count(recipe.data.train_split)
        self.batches_per_epoch = -(-self.images // self.options.batch_size)
        steps = self.options.epochs * self.batches_per_epoch
        self.learner = Learner(recipe, records.manifest, strategy, steps, goes_on=resume_from is not None)
        self.state = State()
        if resume_from:
            self.state = resume_from.state
            self.learner.load(resume_from)
        self.batches = distribute(strategy, self._batches())
        self.scorer = Scorer(strategy, self.learner.network, self.learner.loss, recipe, records, recipe.data.val_split)
        augmentation = AugmentOptions(recipe="none") if overfit_one_batch else recipe.augment
        self.step = self.learner.make_step(self.batches.element_spec, augmentation)

    def _batches(self) -> tf.data.Dataset:
        if not self.overfit_one_batch:
            start = lambda: (self.state.epoch, self.state.batches)  # noqa: E731
            return recipe_batches(self.run.recipe, self.records, self.workers, start)
        first = recipe_batches(self.run.recipe, self.records, self.workers, lambda: (0, 0)).take(self.workers.replicas)
        return first.repeat(self.batches_per_epoch)

    def _watchers(self) -> list[keras.callbacks.Callback]:
        """Those of the first worker, who begin to write; the others train in silence."""
        if not self.workers.first:
            return []
        point_to_best(self.run.checkpoints, self.state)
        taxonomy = self.records.manifest.taxonomy
        self.metrics = MetricsFile(self.run.folder, taxonomy, self.state.metrics_rows)
        self.curves = Curves(self.run, self.records, self.learner.network, self.state.event_files)
        bar = ProgressBar(self.options.epochs, self.images, self.options.batch_size, self.options.evaluate_every)
        profiler = [ProfileSteps(self.curves.train_folder, self.profile)] if self.profile else []
        return [bar, self.metrics, self.curves, *profiler]

    def run_epochs(self) -> float:
        """Train to the last epoch in the run's folder, which must be there, and return the best validation mIoU.

        Raises:
          RunError: loss or gradients are not finite.
          Stopped: a signal came; the state was saved.
        """
        self.callbacks = keras.callbacks.CallbackList(self._watchers(), model=self.learner.model)
        self.callbacks.on_train_begin()
        try:
            with StopSignals() as signals:
                while self.state.epoch < self.options.epochs and not self._out_of_patience():
                    if self.state.step:  # the evaluation before may have taken long
                        self._stop_if_told(signals)
                    self._run_epoch(signals)
        finally:  # also of a run that was stopped or failed: a profile is written, a bar is closed
            self.callbacks.on_train_end()
        return self.state.best_miou

    def _out_of_patience(self) -> bool:
        patience = self.options.patience
        stop = patience is not None and self.state.evaluations_since_best >= patience
        if stop and self.workers.first:
            say(f"stopped after epoch {self.state.epoch}: {patience} evaluations without a better validation mIoU")
        return stop

    def _run_epoch(self, signals: StopSignals) -> None:
        started, first = time.monotonic(), self.state.batches
        self.callbacks.on_epoch_begin(self.state.epoch, {"batches_done": first})
        batches = Waiting(self.batches)
        # At most a hundred times an epoch, each time at the same step on all workers: reading adds up their counts.
        miou, miou_every = mean_iou(self.learner.confusion.counts()), -(-self.batches_per_epoch // 100)
        for batch in batches:
            self.callbacks.on_train_batch_begin(self.state.batches, {"step": self.state.step})
            self._note(self.step(batch, tf.constant(self.state.step, tf.int32)))
            if self.state.batches % miou_every == 0:
                miou = mean_iou(self.learner.confusion.counts())
            logs = {
                "loss": self.state.loss_sum / self.state.batches,
                "miou": miou,
                "data_wait": batches.seconds / (time.monotonic() - started),
                "step": self.state.step,
            }
            self.callbacks.on_train_batch_end(self.state.batches - 1, logs)
            self._stop_if_told(signals)
        done = [min(count * self.options.batch_size, self.images) for count in (first, self.state.batches)]
        seconds = time.monotonic() - started
        self._end_epoch((done[1] - done[0]) / seconds, batches.seconds / seconds)

    def _stop_if_told(self, signals: StopSignals) -> None:
        if number := self.workers.largest(signals.came):
            if self.state.batches:  # else the epoch's end has saved
                self._save()
            way_on = "" if self.overfit_one_batch else f", go on with --run {self.run.folder} --resume"
            raise Stopped(f"by signal {number} after step {self.state.step}; saved in {self.run.checkpoints}{way_on}")

    def _note(self, trained: Trained) -> None:
        """Count a step that was done, or tell why it cannot go on."""
        loss, norm = float(trained.loss), float(trained.gradient_norm)
        left_out = bool(trained.left_out)
        if not np.isfinite(loss) or not (left_out or np.isfinite(norm)):
            raise RunError(self._what_was_not_finite(loss, norm))
        self._update(
            step=self.state.step + 1,
            batches=self.state.batches + 1,
            loss_sum=self.state.loss_sum + loss,
            gradient_norm_sum=self.state.gradient_norm_sum + (0.0 if left_out else norm),
            left_out=self.state.left_out + left_out,
        )

    def _what_was_not_finite(self, loss: float, norm: float) -> str:
        epoch, batches = (0, 0) if self.overfit_one_batch else (self.state.epoch, self.state.batches)
        order, first = epoch_order(self.images, self.options.seed, epoch), batches * self.options.batch_size
        reader = self.records.reader(self.run.recipe.data.train_split)
        keys = [deserialize(reader.read(n)).key for n in order[first : first + self.options.batch_size]]
        return (
            f"loss {loss} and gradient norm {norm} at step {self.state.step} (epoch {self.state.epoch + 1}); "
            f"the batch's keys: {', '.join(keys)}; {self._way_back()}"
        )

    def _way_back(self) -> str:
        checkpoints = sorted(self.run.checkpoints.glob("step-*"))
        return (
            f"the last good checkpoint: {checkpoints[-1] if checkpoints else 'none yet'}; "
            "try a smaller train.learning_rate or train.clip_norm=1"
        )

    def _end_epoch(self, images_per_second: float, data_wait: float) -> None:
        """Evaluate when it is due, tell the callbacks, and save."""
        epoch = self.state.epoch
        logs: dict[str, Any] = {
            "loss": self.state.loss_sum / self.state.batches,
            "miou": mean_iou(self.learner.confusion.counts()),
            "grad_norm": self.state.gradient_norm_sum / max(self.state.batches - self.state.left_out, 1),
            "learning_rate": self.learner.learning_rate,
            "images_per_second": images_per_second,
            "data_wait": data_wait,
            "step": self.state.step,
        }
        due = (epoch + 1) % self.options.evaluate_every == 0 or epoch + 1 == self.options.epochs
        self._update(epoch=epoch + 1, batches=0, loss_sum=0.0, gradient_norm_sum=0.0, left_out=0)
        self.learner.confusion.reset_state()
        with self.learner.as_evaluated():
            if due:
                logs |= self._judge(self.scorer())
            self.callbacks.on_epoch_end(epoch, logs)
        self._save()

    def _judge(self, score: Score) -> Mapping[str, Any]:
        """Note whether a score is the best so far; what the callbacks are told of it.

        Raises:
          RunError: the loss is not finite: the last step's update was too much for the weights.
        """
        if not np.isfinite(score.loss):
            raise RunError(f"validation loss {score.loss} after step {self.state.step}; {self._way_back()}")
        if score.miou > self.state.best_miou:
            self._update(best_miou=score.miou, best_step=self.state.step, evaluations_since_best=0)
        else:
            self._update(evaluations_since_best=self.state.evaluations_since_best + 1)
        return {
            "val_loss": score.loss,
            "val_miou": score.miou,
            "val_class_iou": class_iou(score.confusion),
            "val_confusion": score.confusion,
        }

    def _update(self, **values: Any) -> None:
        self.state = self.state.model_copy(update=values)

    def _save(self) -> None:
        """Save, if it is worth it.

        Raises:
          RunError: weights are not finite; then the next step would be told of, but its way back led here.
        """
        if not self.learner.is_finite():
            raise RunError(f"weights are not finite after step {self.state.step}; {self._way_back()}")
        learnt = self.learner.state()  # of all workers' replicas: each of them asks
        if self.workers.first:
            watched = {"metrics_rows": self.metrics.rows, "event_files": self.curves.flush()}
            state = self.state.model_copy(update=learnt | watched)
            save_checkpoint(self.run.checkpoints, self.learner.save, state, self.options.keep_checkpoints)

"""What a person reads of a training run as it goes: a progress bar, the time that is left, and ``metrics.csv``."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from configs.commands import progress_bar, say
from configs.taxonomy import Taxonomy
from pipelines.files import write_atomically

METRICS = "metrics.csv"
# tqdm's own time left is the epoch's, beside which the run's could not be told apart.
BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_noinv_fmt}{postfix}]"


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
        del iterator  # whose end may take long too
        self.seconds += time.perf_counter() - started


class TimeLeft:
    """The time that the rest of a run will take, by what this process has seen of it.

    A step counts with the mean of the steps since this process started, but for the first, which is traced and
    compiled; an evaluation, with the pictures and the checkpoint that follow it, with the latest one.
    """

    def __init__(self, epochs: int, steps_per_epoch: int, evaluate_every: int) -> None:
        self._epochs, self._steps_per_epoch, self._evaluate_every = epochs, steps_per_epoch, evaluate_every
        self._epoch, self._since, self._step_seconds, self._steps_timed = 0, 0.0, 0.0, -1
        self._evaluation_seconds, self._evaluating = 0.0, False

    def begin_epoch(self, epoch: int) -> None:
        """Training goes on, in this epoch, counted from 0."""
        now = time.perf_counter()
        if self._evaluating:
            self._evaluation_seconds = now - self._since
        self._epoch, self._since, self._evaluating = epoch, now, False

    def end_step(self) -> None:
        """A step was done."""
        now = time.perf_counter()
        if self._steps_timed >= 0:
            self._step_seconds += now - self._since
        self._steps_timed, self._since = self._steps_timed + 1, now

    def end_epoch(self, evaluated: bool) -> None:
        """The epoch is done, with its evaluation if it had one."""
        self._epoch, self._evaluating = self._epoch + 1, evaluated
        if evaluated:
            self._evaluation_seconds = time.perf_counter() - self._since

    def seconds(self, step: int) -> float | None:
        """Seconds to the end of the last epoch after so many steps of the whole run; None while nothing is known."""
        if self._steps_timed < 1:
            return None
        steps = self._epochs * self._steps_per_epoch - step
        evaluations = sum(
            epoch % self._evaluate_every == 0 or epoch == self._epochs
            for epoch in range(self._epoch + 1, self._epochs + 1)
        )
        return steps * self._step_seconds / self._steps_timed + evaluations * self._evaluation_seconds


class ProgressBar(keras.callbacks.Callback):
    """One bar an epoch with what a person wants to know while waiting, and one line at its end."""

    def __init__(self, epochs: int, images: int, batch_size: int, evaluate_every: int) -> None:
        """``images`` are those of an epoch."""
        super().__init__()
        self._epochs, self._images, self._batch_size = epochs, images, batch_size
        self._time_left = TimeLeft(epochs, -(-images // batch_size), evaluate_every)
        self._bar: Any = None  # tqdm's, of the epoch that is running

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the epoch's bar, where the epoch is when it is resumed."""
        done = int((logs or {}).get("batches_done", 0)) * self._batch_size
        name = f"epoch {epoch + 1}/{self._epochs}"
        self._bar = progress_bar(self._images, " images", name, initial=done, bar_format=BAR)
        self._time_left.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar."""
        logs = logs or {}
        self._time_left.end_step()
        self._bar.set_postfix_str(
            f"loss {logs['loss']:.4f}, mIoU {logs['miou']:.4f}, {_waiting(logs)}, {self._left(logs)}", refresh=False
        )
        self._bar.update(min(self._batch_size, self._images - int(self._bar.n)))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Replace the bar by one line."""
        logs = logs or {}
        self._bar.leave = False
        self._bar.close()
        self._time_left.end_epoch("val_miou" in logs)
        validation = f"  val loss {logs['val_loss']:.4f}  val mIoU {logs['val_miou']:.4f}" if "val_miou" in logs else ""
        say(
            f"epoch {epoch + 1:>4}/{self._epochs}  loss {logs['loss']:.4f}  mIoU {logs['miou']:.4f}{validation}  "
            f"{logs['images_per_second']:.1f} images/s  {_waiting(logs)}  {self._left(logs)}"
        )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Leave the bar of an epoch that was broken off where it is; a run that was done before has none."""
        if self._bar is not None:
            self._bar.close()

    def _left(self, logs: Mapping[str, Any]) -> str:
        seconds = self._time_left.seconds(int(logs["step"]))
        return "time left unknown" if seconds is None else f"{tqdm.format_interval(round(seconds))} left"


def _waiting(logs: Mapping[str, Any]) -> str:
    return f"{100 * logs['data_wait']:.1f} % waiting for data"


class MetricsFile(keras.callbacks.Callback):
    """``metrics.csv``: a line an epoch; on resume, lines after the checkpoint are dropped."""

    def __init__(self, folder: Path, taxonomy: Taxonomy, rows: int) -> None:
        super().__init__()
        self._path, self.rows = folder / METRICS, rows
        self._scalars = ["loss", "miou", "learning_rate", "grad_norm", "images_per_second", "data_wait"]
        self._scalars += ["val_loss", "val_miou"]
        self._classes = taxonomy.class_names
        head = io.StringIO(newline="")
        csv.writer(head).writerow(["epoch", "step", *self._scalars, *(f"iou/{name}" for name in self._classes)])
        kept = self._path.read_bytes().splitlines(keepends=True)[1 : rows + 1] if rows else []
        write_atomically(self._path, head.getvalue().encode() + b"".join(kept))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Append the epoch's line; what was not measured stays empty."""
        logs = logs or {}
        iou = logs.get("val_class_iou", [""] * len(self._classes))
        with open(self._path, "a", newline="") as file:
            csv.writer(file).writerow(
                [epoch + 1, int(logs["step"]), *(logs.get(key, "") for key in self._scalars), *iou]
            )
        self.rows += 1

"""TensorBoard's profile of some steps of a run: where a step's time goes, on the host and on the device.

Steps are the run's, counted from 1 and not anew after a resume; a range of them is (first, last), both included.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from configs.commands import UserError, say

PLUGIN = "tensorboard-plugin-profile"


def check_profiled(steps: tuple[int, int], done: int, total: int) -> None:
    """A profile is of steps that will be done.

    Args:
      steps: first and last, as `configs.commands.parse_steps` gives them.
      done: steps of the run that a resumed one does not do again.
      total: steps of the whole run.

    Raises:
      UserError: none of them will be.
    """
    first, last = steps
    if first > total or last <= done:
        raise UserError(f"--profile {first}:{last}: this run does steps {done + 1} to {total}; choose some of them")


class ProfileSteps(keras.callbacks.Callback):
    """Profiles a range of steps; of a training that ends in between, those that were done.

    The loop tells how many steps are done, as ``step`` in the logs of each batch. The first step is better left
    out: it is traced and compiled.
    """

    def __init__(self, folder: Path, steps: tuple[int, int]) -> None:
        """``folder`` is one of TensorBoard's runs; the profile is written below it."""
        super().__init__()
        self._folder, (self._first, self._last) = folder, steps
        self._profiled: list[int] = []
        self._running = False
        self._trace: Any = None  # of the step that is being done

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start before the first of the steps, and mark where each begins."""
        step = int((logs or {})["step"]) + 1
        if not self._first <= step <= self._last:
            return
        if not self._profiled:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True
        self._profiled.append(step)
        self._trace = tf.profiler.experimental.Trace("train", step_num=step, _r=1)  # _r: a step, not a part of one

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Mark where the step ends, and stop after the last one."""
        self._end_step()
        if int((logs or {})["step"]) == self._last:
            self._stop()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Stop if training ends in between, and say where the profile is."""
        self._end_step()
        self._stop()
        if self._profiled:
            say(
                f"profile of steps {self._profiled[0]} to {self._profiled[-1]} in {self._folder}; look at it with: "
                f"tensorboard --logdir {self._folder} (tab Profile, after pip install {PLUGIN})"
            )

    def _end_step(self) -> None:
        if self._trace:
            self._trace.__exit__(None, None, None)
            self._trace = None

    def _stop(self) -> None:
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False

"""Ctrl-C and SIGTERM as a wish to stop, which the training loop grants after its current step."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopSignals:
    """While it is entered, ``came`` is the number of the signal that came, or 0; a second one interrupts at once."""

    def __init__(self) -> None:
        self.came = 0

    def __enter__(self) -> StopSignals:
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = number

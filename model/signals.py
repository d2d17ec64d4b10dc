"""Ctrl-C and SIGTERM as a wish to stop, which the training loop grants after its current step or evaluation."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

WILL_STOP = b"\nstopping after this step or evaluation; a second time stops at once, without saving\n"


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
        # Unbuffered, for a buffered write could meet one under way; and there may be nobody to read it.
        with suppress(AttributeError, OSError, ValueError):
            os.write(sys.stderr.fileno(), WILL_STOP)

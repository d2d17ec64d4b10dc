"""One image's annotation, whatever file format it came from: a size and labelled polygons in painting order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np


class BadInput(Exception):
    """An image or annotation that cannot become a record. It becomes a dead letter with this code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.source = ""


@contextmanager
def about(source: str) -> Iterator[None]:
    """Name the file that a `BadInput` of the block is about."""
    try:
        yield
    except BadInput as error:
        error.source = source
        raise


class Shape(NamedTuple):
    """A labelled polygon. ``number`` is its place in the file, ``polygon`` float64 (points, 2) of x, y.

    The origin is the centre of the top left pixel, as in Cityscapes and IDD.
    """

    number: int
    label: str
    polygon: np.ndarray


class Annotation(NamedTuple):
    """The size in pixels that the polygons refer to, and the shapes: a later one lies over an earlier one."""

    height: int
    width: int
    shapes: list[Shape]

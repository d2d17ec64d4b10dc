"""One image's annotation, whatever file format it came from: a size and labelled shapes in painting order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

import numpy as np


class BadInput(Exception):
    """An image or annotation that cannot become a record. It becomes a dead letter with this code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.source = ""


class DeadLetter(NamedTuple):
    """An input that did not become a record. ``source`` is the file's path below the input folder."""

    key: str
    stage: str
    code: str
    message: str
    source: str


@contextmanager
def about(source: str) -> Iterator[None]:
    """Name the file that a `BadInput` of the block is about."""
    try:
        yield
    except BadInput as error:
        error.source = source
        raise


class Shape(NamedTuple):
    """What one object of an annotation covers; an object of several parts is several shapes.

    ``number`` is the object's place in the file. ``polygon`` is float64 (points, 2) of x, y; whole numbers
    are pixels, the origin is the top left one, as in Cityscapes and IDD. ``bitmap``, bool (height, width),
    is there instead where the format holds a mask.
    """

    number: int
    label: str
    polygon: np.ndarray
    bitmap: np.ndarray | None = None


class Annotation(NamedTuple):
    """Shapes in painting order, a later one over an earlier one, and the size in pixels that they refer to.

    Formats that do not say a size have None, which is the image's own. ``ids`` is uint8 (height, width) of
    a ready mask's values, for formats that hold no shapes. ``counts`` tells what was odd but good.
    """

    height: int | None
    width: int | None
    shapes: list[Shape]
    ids: np.ndarray | None = None
    counts: Mapping[str, int] = MappingProxyType({})

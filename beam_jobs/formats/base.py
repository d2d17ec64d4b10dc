"""What readers of annotation files share: the listing of an input folder, pairing by key, and checked values.

A reader is a module with the names of `Format`. Adding one is a new file and a line in ``__init__.py``.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from beam_jobs.annotation import Annotation, BadInput, DeadLetter

COORDINATE_LIMIT = 1e6  # Pillow turns coordinates into C ints; far outside they draw garbage or nothing
LARGEST_SIDE = 2**31 - 1  # of a PNG
LONGEST_LABEL = 200
_PIECE = 2**20
DEEPEST = 200
"""JSON nested deeper than this is no annotation."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
TREES = frozenset(
    (
        *("leftimg8bit", "images", "image", "imgs", "img", "jpegimages"),
        *("gtfine", "gtcoarse", "annotations", "annotation", "labels", "label", "json", "jsons"),
        *("masks", "mask", "segmentation", "segmentationclass", "sem_seg", "polygons", "v2.0", "v1.2"),
    )
)
"""Folder names that tell images from annotations and are no part of a key, in lower case."""


class Files(NamedTuple):
    """An input folder and the paths of all files below it, relative and sorted."""

    folder: Path
    paths: Sequence[str]

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises `BadInput` for what is no file (reading a pipe would wait for ever) or unreadable."""
        try:
            if not stat.S_ISREG((self.folder / path).stat().st_mode):
                raise BadInput("not_a_file", "not a regular file")
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise BadInput("file_unreadable", error.strerror or str(error)) from None


class Candidate(NamedTuple):
    """An image with its annotation, as paths below the input folder.

    ``inline`` is JSON: the part of a file that describes many images which is about this one. `Format.read`
    is given its bytes instead of the file's.
    """

    key: str
    image: str
    annotation: str
    inline: str = ""


class Found(NamedTuple):
    """What a reader found in an input folder: candidates, and dead letters of what has no partner."""

    candidates: list[Candidate]
    dead_letters: list[DeadLetter]


class Format(Protocol):
    """The names that a reader module has."""

    NAME: str
    """As in ``--format``."""
    TURNED: bool
    """Whether polygons refer to the image as viewers turn it by its EXIF orientation, not as it is stored."""

    def recognizes(self, path: PurePosixPath, value: Any) -> bool:
        """Whether a JSON file, by its path and its parsed content, is of this format."""

    def find(self, files: Files) -> Found:
        """Pair images and annotations. Raises `BadInput` when a file for many images is damaged."""

    def read(self, data: bytes, keep_deleted: bool = False) -> Annotation:
        """One image's annotation from the bytes of its file or of its inline part. Raises `BadInput`.

        ``keep_deleted`` keeps objects that the format marks as deleted, where it has such a mark.
        """


def image_key(path: PurePosixPath) -> str | None:
    """The key of an image in any tree: folders but for those of `TREES`, and the name without its suffix."""
    return tree_key(path, path.stem) if path.suffix.lower() in IMAGE_SUFFIXES else None


def json_key(path: PurePosixPath) -> str | None:
    """The key of a JSON file that describes one image of the same name, or None."""
    return tree_key(path, path.stem) if path.suffix.lower() == ".json" else None


def tree_key(path: PurePosixPath, frame: str) -> str:
    """The folders of a path that are no trees' names, and the frame."""
    return "/".join([*(folder for folder in path.parts[:-1] if folder.lower() not in TREES), frame])


def pair_by_key(
    files: Files,
    key_of_image: Callable[[PurePosixPath], str | None] = image_key,
    key_of_annotation: Callable[[PurePosixPath], str | None] = json_key,
) -> Found:
    """Pair files that have one key; a file without a partner, or a key that stands twice, is a dead letter."""
    images: dict[str, list[str]] = {}
    annotations: dict[str, list[str]] = {}
    for path in files.paths:
        name = PurePosixPath(path)
        if key := key_of_annotation(name):
            annotations.setdefault(key, []).append(path)
        elif key := key_of_image(name):
            images.setdefault(key, []).append(path)
    found = Found([], [])
    for key in sorted(images.keys() | annotations.keys()):
        ours, theirs = images.get(key, []), annotations.get(key, [])
        if len(ours) == len(theirs) == 1:
            found.candidates.append(Candidate(key, ours[0], theirs[0]))
        else:
            found.dead_letters.append(_no_pair(key, ours, theirs))
    return found


def _no_pair(key: str, images: Sequence[str], annotations: Sequence[str]) -> DeadLetter:
    for several in (images, annotations):
        if len(several) > 1:
            message = f"{several[0]} and {several[1]} have one key, '{key}'"
            return DeadLetter(key, "scan", "duplicate_key", message, several[0])
    if images:
        message = f"{images[0]}: there is no annotation for this image"
        return DeadLetter(key, "scan", "no_annotation", message, images[0])
    message = f"{annotations[0]}: there is no image for this annotation"
    return DeadLetter(key, "scan", "no_image", message, annotations[0])


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8, with or without a byte order mark. Raises `BadInput`."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise BadInput("annotation_empty", "the file is empty")
    try:
        # Faster than json on street annotations; it knows neither NaN nor Infinity.
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        first = error
    if is_too_deep(data):
        raise BadInput("annotation_too_deep", f"brackets are nested deeper than {DEEPEST}")
    try:
        # Python's own parser reads NaN, so that the message can name the object that holds it.
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadInput("annotation_not_json", f"not JSON in UTF-8 ({first})") from None


def is_too_deep(data: bytes) -> bool:
    """Whether brackets, wherever they stand, nest deeper than `DEEPEST`."""
    steps = np.zeros(256, np.int32)
    steps[[ord("["), ord("{")]], steps[[ord("]"), ord("}")]] = 1, -1
    depth = 0
    for start in range(0, len(data), _PIECE):  # in pieces: the sums take 12 times the memory of the bytes
        depths = depth + np.cumsum(steps[np.frombuffer(data[start : start + _PIECE], np.uint8)])
        if depths.max() > DEEPEST:
            return True
        depth = int(depths[-1])
    return False


def read_object(value: Any, what: str) -> dict[str, Any]:
    """A JSON object. Raises `BadInput` that says what was expected to be one."""
    if not isinstance(value, dict):
        raise BadInput("annotation_not_object", f"{what}: expected a JSON object, found {kind_of(value)}")
    return value


def read_list(values: dict[str, Any], key: str) -> list[Any]:
    """The list at a key. Raises `BadInput` with code ``no_objects``."""
    value = values.get(key)
    if not isinstance(value, list):
        raise BadInput("no_objects", f"'{key}' is {'missing' if value is None else kind_of(value)}")
    return value


def read_size(values: dict[str, Any], key: str) -> int:
    """A height or width: a whole number from 1 to `LARGEST_SIDE`. Raises `BadInput`."""
    value = values.get(key)
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    if not 1 <= number <= LARGEST_SIDE or number % 1:
        raise BadInput("annotation_size", f"{key} is {'missing' if value is None else short(value)}")
    return int(number)


def read_label(number: int, value: Any) -> str:
    """An object's label. Raises `BadInput` when it is not text."""
    if not isinstance(value, str):
        raise BadInput("label_not_text", f"object {number} has label {short(value)}, which is not text")
    if len(value) > LONGEST_LABEL:
        raise BadInput("label_too_long", f"object {number} has a label of {len(value)} characters: {short(value)}")
    return value


def read_polygon(number: int, label: str, value: Any) -> np.ndarray:
    """A list of [x, y] to float64 (points, 2). Raises `BadInput` that names the object and the value."""
    place = f"object {number} ('{label}')"
    if not isinstance(value, list):
        raise BadInput("polygon_not_list", f"{place}: polygon is {'missing' if value is None else kind_of(value)}")
    if not value:
        return np.empty((0, 2))
    try:
        points = np.array(value, np.float64) if _holds_numbers(value) else np.empty(0)
    except ValueError:  # some are no pairs
        points = np.empty(0)
    except OverflowError:  # a whole number beyond 1e308
        points = np.full((1, 2), math.inf)
    if points.ndim != 2 or points.shape[1] != 2:
        wrong = next((point for point in value if not _is_point(point)), value)
        raise BadInput("polygon_points", f"{place}: {short(wrong)} is not a point [x, y] of two numbers")
    if not np.abs(points).max() <= COORDINATE_LIMIT:  # written so that NaN fails too
        point = next(p for p in value if not all(abs(c) <= COORDINATE_LIMIT for c in p))
        finite = all(-math.inf < c < math.inf for c in point)
        code = "coordinate_range" if finite else "coordinate_not_finite"
        raise BadInput(code, f"{place}: point {short(point)} is {'beyond ±1e6' if finite else 'not finite'}")
    return points


def read_polygons(entries: Sequence[tuple[int, str, Any]]) -> list[np.ndarray]:
    """`read_polygon` of many (number, label, value), faster: what is sound is converted in one piece."""
    values = [value for _, _, value in entries]
    if set(map(type, values)) == {list}:
        points = list(chain.from_iterable(values))
        if set(map(type, points)) == {list} and set(map(len, points)) == {2}:
            flat = list(chain.from_iterable(points))
            if set(map(type, flat)) <= {int, float}:
                try:
                    joined = np.array(flat, np.float64).reshape(-1, 2)
                except OverflowError:
                    joined = np.full((1, 2), math.inf)
                if np.abs(joined).max() <= COORDINATE_LIMIT:
                    ends = np.cumsum([len(value) for value in values])
                    return np.split(joined, ends[:-1])
    return [read_polygon(*entry) for entry in entries]


def _holds_numbers(points: list[Any]) -> bool:
    """Whether all are lists of numbers; NumPy reads true as 1, and for one long text asks for terabytes.

    Written without a loop over points in Python: this is hot.
    """
    return set(map(type, points)) == {list} and set(map(type, chain.from_iterable(points))) <= {int, float}


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in value)
    )


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def short(value: Any) -> str:
    """A value as JSON, cut to 60 characters; what is nested too deep to be written is named by its kind."""
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError):
        text = kind_of(value)
    return text if len(text) <= 60 else text[:57] + "..."

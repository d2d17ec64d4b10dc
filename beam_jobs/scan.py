"""What an input folder holds: pairs of image and annotation, and what has no partner.

A key is a pair's name in the data set: its path below the input folder without the trees' names and the
files' endings, such as ``train/aachen/aachen_000000_000019``. Its first folder is the split if that is
called train, val or test; the folders are the group (a drive), whose frames never straddle splits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from beam_jobs.formats import cityscapes
from configs.commands import UserError

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class DeadLetter(NamedTuple):
    """An input that did not become a record. ``source`` is the file's path below the input folder."""

    key: str
    stage: str
    code: str
    message: str
    source: str


class Pair(NamedTuple):
    """An image and its annotation, as paths below the input folder, with all that tells a changed file."""

    key: str
    image: str
    annotation: str
    image_size: int
    image_mtime_ns: int
    annotation_size: int
    annotation_mtime_ns: int


class Scan(NamedTuple):
    """Pairs by key in sorted order, and dead letters of files without a partner."""

    pairs: list[Pair]
    dead_letters: list[DeadLetter]


def scan(folder: Path) -> Scan:
    """List the images and annotations below a folder and pair them by key.

    Raises:
      UserError: the folder is missing or holds no image or annotation at all.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    images: dict[str, list[str]] = {}
    annotations: dict[str, list[str]] = {}
    for path in list_files(folder):
        name = PurePosixPath(path)
        if key := cityscapes.image_key(name):
            images.setdefault(key, []).append(path)
        elif key := cityscapes.annotation_key(name):
            annotations.setdefault(key, []).append(path)
    if not images and not annotations:
        raise UserError(
            f"--input {folder}: no images found; expected the Cityscapes / IDD layout, "
            "FRAME_leftImg8bit.jpg (or .png) with FRAME_gtFine_polygons.json beside it or in a parallel tree"
        )
    pairs: list[Pair] = []
    dead: list[DeadLetter] = []
    for key in sorted(images.keys() | annotations.keys()):
        try:
            pairs.append(_pair(folder, key, images.get(key, []), annotations.get(key, [])))
        except _NoPair as problem:
            dead.append(DeadLetter(key, "scan", problem.code, problem.message, problem.source))
    return Scan(pairs, dead)


def split_of(key: str) -> str | None:
    """The split that a key's first folder names, or None."""
    folder, separator, _ = key.partition("/")
    return SPLITS.get(folder.lower()) if separator else None


def group_of(key: str) -> str:
    """The folders of a key: frames of one folder belong together."""
    return key.rpartition("/")[0]


def list_files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, relative and sorted; hidden folders and links to folders are left out."""
    pending = [""]
    while pending:
        base = pending.pop()
        try:
            entries = sorted(os.scandir(folder / base), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{folder / base}: cannot be listed ({error.strerror})") from None
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False) and not cityscapes.image_key(PurePosixPath(entry.name)):
                pending.append(base + entry.name + "/")
            else:
                yield base + entry.name


class _NoPair(Exception):
    def __init__(self, code: str, message: str, source: str) -> None:
        super().__init__(message)
        self.code, self.message, self.source = code, message, source


def _pair(folder: Path, key: str, images: list[str], annotations: list[str]) -> Pair:
    if not annotations:
        raise _NoPair("no_annotation", f"{images[0]}: there is no annotation for this image", images[0])
    if not images:
        raise _NoPair("no_image", f"{annotations[0]}: there is no image for this annotation", annotations[0])
    for found in (images, annotations):
        if len(found) > 1:
            raise _NoPair("duplicate_key", f"{found[0]} and {found[1]} have one key, '{key}'", found[0])
    image, annotation = _status(folder, images[0]), _status(folder, annotations[0])
    return Pair(
        key, images[0], annotations[0], image.st_size, image.st_mtime_ns, annotation.st_size, annotation.st_mtime_ns
    )


def _status(folder: Path, path: str) -> os.stat_result:
    try:
        status = os.stat(folder / path)
    except OSError as error:
        raise _NoPair("file_unreadable", f"{path}: {error.strerror}", path) from None
    if not stat.S_ISREG(status.st_mode):
        raise _NoPair("not_a_file", f"{path}: not a regular file", path)
    return status

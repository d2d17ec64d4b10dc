"""What an input folder holds: pairs of image and annotation, and what has no partner.

A key is a pair's name in the data set: its path below the input folder without the trees' names and the
files' endings, such as ``train/aachen/aachen_000000_000019``. A folder called train, val or test in it is
the split; the folders are the group (a drive), whose frames never straddle splits.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from beam_jobs.annotation import BadInput, DeadLetter
from beam_jobs.formats import detect_format, format_by_name
from beam_jobs.formats.base import IMAGE_SUFFIXES, Candidate, Files, Format
from beam_jobs.storage import RemotePath
from configs.commands import UserError

SPLITS = {
    **dict.fromkeys(("train", "training", "train2017", "train2014"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val2017", "val2014"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Pair(NamedTuple):
    """An image and its annotation, as paths below the input folder, with all that tells a changed file.

    ``inline`` is the annotation itself, as JSON, where it is a part of a file for many images.
    """

    key: str
    image: str
    annotation: str
    image_size: int
    image_mtime_ns: int
    annotation_size: int
    annotation_mtime_ns: int
    inline: str = ""


class Scan(NamedTuple):
    """Pairs by key in sorted order, dead letters of files without a partner, and the annotations' format.

    ``left_out`` counts the images of splits, mostly test, that have no annotation at all.
    """

    pairs: list[Pair]
    dead_letters: list[DeadLetter]
    format: str
    left_out: Mapping[str, int] = MappingProxyType({})


def scan(folder: Path, format_name: str = "auto") -> Scan:
    """List the images and annotations below a folder and pair them by key.

    Raises:
      UserError: the folder is missing, holds no images, or its format is not known.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    files = Files(folder, list(list_files(folder)))
    if not any(path.lower().endswith(IMAGE_SUFFIXES) for path in files.paths):
        raise UserError(f"--input {folder}: no images found ({', '.join(IMAGE_SUFFIXES)}) in {len(files.paths)} files")
    chosen: Format = detect_format(files) if format_name == "auto" else format_by_name(format_name)
    try:
        found = chosen.find(files)
    except BadInput as error:
        raise UserError(f"--input {folder / error.source}: {error}") from None
    pairs: list[Pair] = []
    dead = list(found.dead_letters)
    status = _Status(folder)
    for candidate in found.candidates:
        try:
            _check_name(candidate)
            pairs.append(_pair(status, candidate))
        except BadInput as error:
            dead.append(DeadLetter(candidate.key, "scan", error.code, f"{error.source}: {error}", error.source))
    dead = [DeadLetter(*(text.encode("utf-8", "backslashreplace").decode() for text in letter)) for letter in dead]
    if not pairs and not dead:
        raise UserError(f"--input {folder}: no images with annotations of format {chosen.NAME} found")
    dead, left_out = _without_unannotated_splits(dead, {split_of(candidate.key) for candidate in found.candidates})
    return Scan(sorted(pairs), sorted(dead), chosen.NAME, left_out)


def _without_unannotated_splits(
    dead: list[DeadLetter], annotated: Collection[str | None]
) -> tuple[list[DeadLetter], Counter[str]]:
    """Public test splits come without annotations: their images are no faults of the input."""
    kept, left_out = [], Counter[str]()
    for letter in dead:
        split = split_of(letter.key)
        if letter.code == "no_annotation" and split is not None and split not in annotated:
            left_out[split] += 1
        else:
            kept.append(letter)
    return kept, left_out


def split_of(key: str) -> str | None:
    """The split that one of a key's folders names, the first one that does, or None."""
    folders = key.split("/")[:-1]
    return next((SPLITS[folder.lower()] for folder in folders if folder.lower() in SPLITS), None)


def group_of(key: str) -> str:
    """The folders of a key: frames of one folder belong together."""
    return key.rpartition("/")[0]


def list_files(folder: Path | RemotePath) -> Iterator[str]:
    """Paths of all files below a folder, relative and sorted; hidden ones and links to folders are left out.

    A folder that bears an image's name is listed, so that it becomes a dead letter and not a riddle.
    """
    if isinstance(folder, RemotePath):
        yield from sorted(path for path in folder.walk() if not any(p.startswith(".") for p in path.split("/")))
        return
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
            if entry.is_dir(follow_symlinks=False) and not entry.name.lower().endswith(IMAGE_SUFFIXES):
                pending.append(base + entry.name + "/")
            else:
                yield base + entry.name


def _pair(status: _Status, candidate: Candidate) -> Pair:
    image, annotation = status.of(candidate.image), status.of(candidate.annotation)
    return Pair(
        candidate.key,
        candidate.image,
        candidate.annotation,
        image.st_size,
        image.st_mtime_ns,
        len(candidate.inline) or annotation.st_size,
        annotation.st_mtime_ns,
        candidate.inline,
    )


def _check_name(candidate: Candidate) -> None:
    """A record's key and file name are text. Raises `BadInput` for names that are not UTF-8."""
    for path in (candidate.image, candidate.annotation):
        try:
            path.encode()
        except UnicodeEncodeError:
            problem = BadInput("name_not_utf8", "the file's name is not UTF-8; rename it")
            problem.source = path.encode("utf-8", "backslashreplace").decode()
            raise problem from None


class _Status:
    """Sizes and times of files, each looked at once: one annotation file may be thousands of images'."""

    def __init__(self, folder: Path | RemotePath) -> None:
        self._folder = folder
        # One listing of a store instead of two questions for each pair.
        self._known: dict[str, Any] = dict(folder.walk()) if isinstance(folder, RemotePath) else {}

    def of(self, path: str) -> Any:
        """Raises `BadInput` when the path is no regular file that can be reached."""
        if path not in self._known:
            self._known[path] = self._look(path)
        return self._known[path]

    def _look(self, path: str) -> Any:
        problem = BadInput("file_unreadable", "")
        try:
            status = (self._folder / path).stat()
        except OSError as error:
            problem = BadInput("file_unreadable", error.strerror or str(error))
        else:
            if stat.S_ISREG(status.st_mode):
                return status
            problem = BadInput("not_a_file", "not a regular file")
        problem.source = path
        raise problem

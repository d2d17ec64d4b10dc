"""For formats that describe many images in one file: reading the files, finding the images, making the candidates."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import orjson

from beam_jobs.annotation import BadInput, DeadLetter
from beam_jobs.formats.base import (
    DEEPEST,
    IMAGE_SUFFIXES,
    TREES,
    Candidate,
    Files,
    Found,
    is_too_deep,
    parse_json,
    tree_key,
)
from beam_jobs.formats.masks import is_map

_IN_NAME = re.compile(r"(?:^|[^a-z])(train|val|test)(?:ing|id|idation)?(?:20\d\d)?(?:[^a-z]|$)", re.IGNORECASE)
_FOLDER = re.compile(r"(train|val|test)(?:ing|id|idation)?(?:2014|2017)?", re.IGNORECASE)
_LONGEST_NAME = 200


def file_split(path: str) -> str:
    """The split that a file's own name speaks of (``instances_val2017.json``), or one of its folders, or ''."""
    match = _IN_NAME.search(PurePosixPath(path).stem)
    return match[1].lower() if match else _folder_split(PurePosixPath(path).parts[:-1])


def to_inline(value: Any) -> str:
    """JSON that `parse_json` gives back as it was, NaN and all. Raises `BadInput` for what is nested too deep."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # numbers beyond 64 bits, lone surrogates, brackets deeper than 254
        text = "null"
    if "null" not in text:  # which is also what orjson makes of NaN
        return text
    with suppress(RecursionError):
        text = json.dumps(value)
        if not is_too_deep(text.encode()):
            return text
    raise BadInput("annotation_too_deep", f"brackets are nested deeper than {DEEPEST}")


class ImageLookup:
    """Collects the candidates of an input folder whose annotation files name the images that they are about.

    A file or an entry that is damaged becomes a dead letter and costs nothing else.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in files.paths:
            if path.lower().endswith(IMAGE_SUFFIXES):
                self._by_name[_normal(PurePosixPath(path).name)].append(path)
        self._claims: dict[str, list[Candidate]] = defaultdict(list)
        self._letters: list[DeadLetter] = []
        self._damaged: list[BadInput] = []

    def parsed(self) -> Iterator[tuple[str, Any]]:
        """(path, value) of each JSON file, of whatever format, that can be read and parsed."""
        for path in self._files.paths:
            if path.lower().endswith(".json"):
                try:
                    value = parse_json(self._files.read(path))
                except BadInput as error:
                    error.source = path
                    self._damaged.append(error)
                    self._letters.append(DeadLetter(path, "scan", error.code, f"{path}: {error}", path))
                else:
                    yield path, value

    def add(self, name: str, annotation: str, value: Any) -> None:
        """A candidate for the image that an annotation file calls so, with ``value`` as its inline annotation."""
        entry = f"image '{_shown(name)}'"
        paths = self._images(name, annotation)
        try:
            inline = to_inline(value)
        except BadInput as error:
            self.refuse(annotation, _shown(name), error.code, f"{entry}: {error}")
            return
        if len(paths) > 1:
            message = f"{entry}: {paths[0]} and {paths[1]} could be meant"
            self.refuse(annotation, _shown(name), "duplicate_key", message)
        elif not paths:
            others = self._called(name)
            hint = f"; the folders of {others[0]} are others" if others else ""
            self.refuse(annotation, _shown(name), "no_image", f"{entry}: there is no such image{hint}")
        else:
            self._claims[paths[0]].append(Candidate(_key(paths[0], annotation), paths[0], annotation, inline))

    def refuse(self, annotation: str, entry: str, code: str, message: str) -> None:
        """A dead letter for one entry of an annotation file."""
        self._letters.append(DeadLetter(f"{annotation}#{entry}", "scan", code, f"{annotation}: {message}", annotation))

    def found(self) -> Found:
        """All that was added; images that are named twice, or by nobody, are dead letters.

        Raises `BadInput` when files are damaged and nothing else was found.
        """
        if self._damaged and not self._claims:
            raise self._damaged[0]
        by_key: dict[str, list[Candidate]] = defaultdict(list)
        letters = [*self._letters, *self._unnamed()]
        for image, claims in self._claims.items():
            if len(claims) == 1:
                by_key[claims[0].key].append(claims[0])
            else:
                message = f"{image}: stands in {claims[0].annotation} and again in {claims[1].annotation}"
                letters.append(DeadLetter(claims[0].key, "scan", "duplicate_key", message, image))
        for key, (first, *more) in by_key.items():
            if more:
                message = f"{first.image} and {more[0].image} have one key, '{key}'"
                letters.append(DeadLetter(key, "scan", "duplicate_key", message, first.image))
        return Found([found[0] for found in by_key.values() if len(found) == 1], letters)

    def _images(self, name: str, annotation: str) -> list[str]:
        """Images that can be meant, by the first of three readings that finds any.

        Beside the annotation file; from the input folder; or one path ends as the other does, apart from folders that
        are trees' names. An equal file name in another folder is no match: frames of two drives are called alike.
        """
        folders = _folders(name)
        beside = [*PurePosixPath(annotation).parts[:-1], *folders]
        called = self._called(name)
        for reading in (beside, folders):
            if paths := [path for path in called if _folders(path) == reading]:
                return paths
        paths = [path for path in called if _end_alike(_folders(path), folders)]
        split = file_split(annotation)
        return [path for path in paths if split and _folder_split(_folders(path)) == split] or paths

    def _called(self, name: str) -> list[str]:
        """Images of this file name; older BDD100K files leave out the suffix."""
        own = _normal(PurePosixPath(name.replace("\\", "/")).name)
        whole = own.lower().endswith(IMAGE_SUFFIXES)
        return [path for suffix in ([""] if whole else IMAGE_SUFFIXES) for path in self._by_name.get(own + suffix, [])]

    def _unnamed(self) -> Iterator[DeadLetter]:
        for path in sorted({path for paths in self._by_name.values() for path in paths} - self._claims.keys()):
            name = PurePosixPath(path)
            if not is_map(name):
                message = f"{path}: there is no annotation for this image"
                yield DeadLetter(tree_key(name, name.stem), "scan", "no_annotation", message, path)


def _key(image: str, annotation: str) -> str:
    """An image's key, below a folder for the split that its annotation file speaks of, if it is in none."""
    key = tree_key(PurePosixPath(image), PurePosixPath(image).stem)
    split = file_split(annotation)
    return f"{split}/{key}" if split and _folder_split(key.split("/")[:-1]) != split else key


def _folder_split(folders: Iterable[str]) -> str:
    """The split that one of the folders is called, as in `beam_jobs.scan.SPLITS`, the first one that is, or ''."""
    matches = (_FOLDER.fullmatch(folder) for folder in folders)
    return next((match[1].lower() for match in matches if match), "")


def _folders(name: str) -> list[str]:
    path = PurePosixPath(_normal(name.replace("\\", "/")))
    return [folder for folder in path.parts[:-1] if folder not in ("/", "..")]


def _end_alike(ours: list[str], theirs: list[str]) -> bool:
    ours, theirs = ([folder for folder in folders if folder.lower() not in TREES] for folders in (ours, theirs))
    common = min(len(ours), len(theirs))
    return ours[len(ours) - common :] == theirs[len(theirs) - common :]


def _normal(name: str) -> str:
    """A name's composed form: some systems hand out the decomposed one, 'e' and an accent."""
    return unicodedata.normalize("NFC", name)


def _shown(name: str) -> str:
    """A name that can be printed and written as UTF-8."""
    return name[:_LONGEST_NAME].encode("utf-8", "backslashreplace").decode()

"""For formats that describe many images in one file: which file is meant by a name, and what nobody named."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath

from beam_jobs.annotation import DeadLetter
from beam_jobs.formats.base import IMAGE_SUFFIXES, Candidate, Files, Found, tree_key

_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|test)(?:ing|idation)?(?:20\d\d)?(?:[^a-z]|$)", re.IGNORECASE)


def file_split(path: str) -> str:
    """The split that a file's own name speaks of (``instances_val2017.json``), or an empty text."""
    match = _SPLIT.search(PurePosixPath(path).stem)
    return match[1].lower() if match else ""


class ImageLookup:
    """Images below the input folder, found by the name that an annotation file gives them."""

    def __init__(self, files: Files) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in files.paths:
            if path.lower().endswith(IMAGE_SUFFIXES):
                self._by_name[PurePosixPath(path).name].append(path)
        self._keys: dict[str, str] = {}
        self._used: set[str] = set()

    def add(self, found: Found, name: str, annotation: str, inline: str) -> None:
        """Append a candidate with this inline annotation, or a dead letter that says why there is none.

        The image is the one whose path ends as the name does; of several, the one that has the split in it
        of which the annotation file's name speaks.
        """
        split = file_split(annotation)
        wanted = PurePosixPath(name.replace("\\", "/"))
        paths = [path for path in self._by_name.get(wanted.name, []) if _ends_with(path, wanted)]
        paths = paths or self._by_name.get(wanted.name, [])
        if len(paths) > 1 and split:
            paths = [path for path in paths if split in path.lower()] or paths
        if len(paths) != 1:
            code = "no_image" if not paths else "duplicate_key"
            what = "there is no such image" if not paths else f"{paths[0]} and {paths[1]} could be meant"
            message = f"{annotation}: image '{name}': {what}"
            found.dead_letters.append(DeadLetter(f"{annotation}#{name}", "scan", code, message, annotation))
            return
        path = PurePosixPath(paths[0])
        key = tree_key(path, path.stem)
        if split and split not in key.lower():
            key = f"{split}/{key}"
        if key in self._keys:
            message = f"{annotation}: image '{name}' stands twice, also in {self._keys[key]}"
            found.dead_letters.append(DeadLetter(key, "scan", "duplicate_key", message, annotation))
            return
        self._keys[key] = annotation
        self._used.add(paths[0])
        found.candidates.append(Candidate(key, paths[0], annotation, inline))

    def left_over(self) -> list[DeadLetter]:
        """Dead letters of images that no annotation file names."""
        letters = []
        for path in sorted(path for paths in self._by_name.values() for path in paths):
            if path not in self._used:
                name = PurePosixPath(path)
                message = f"{path}: there is no annotation for this image"
                letters.append(DeadLetter(tree_key(name, name.stem), "scan", "no_annotation", message, path))
        return letters


def _ends_with(path: str, name: PurePosixPath) -> bool:
    parts = name.parts
    return PurePosixPath(path).parts[-len(parts) :] == parts

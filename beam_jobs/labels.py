"""The labels of a folder of annotations and how often they occur, read as a build would read them.

count_labels(Path("IDD"))    # Counter({"road": 4210, "car": 3981, ...}): objects, by the annotations' own words
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from beam_jobs.annotation import BadInput
from beam_jobs.formats import format_by_name
from beam_jobs.formats.base import Format
from beam_jobs.scan import Pair, scan
from configs.commands import UserError, progress_bar

TOLD = 5
"""Faults that are told one by one; the rest only counted."""


def count_labels(folder: Path, format_name: str = "auto") -> Counter[str]:
    """Label → objects that bear it, over all annotations below a folder. An object of several parts is one.

    A file that cannot be read, or has no image, is told on standard error and left out.

    Raises:
      UserError: the folder holds no annotations, none that can be read, or ready masks, which have no labels.
    """
    try:
        found = scan(folder, format_name)
    except UserError as error:
        # This is the flag that the user of configs.taxonomy typed.
        raise UserError(str(error).replace("--input", "--from", 1)) from None
    reader = format_by_name(found.format)
    counts: Counter[str] = Counter()
    faults = [letter.message for letter in found.dead_letters]
    with progress_bar(len(found.pairs), "file", "counting labels") as bar:
        for pair in found.pairs:
            try:
                counts += _labels_of(folder, pair, reader)
            except (BadInput, OSError) as error:
                faults.append(f"{pair.annotation}: {error}")
            bar.update()
    _tell(faults, len(found.pairs) + len(found.dead_letters))
    if not counts:
        raise UserError(f"--from {folder}: no labels found in {len(found.pairs)} annotations of format {found.format}")
    return counts


def _labels_of(folder: Path, pair: Pair, reader: Format) -> Counter[str]:
    """One annotation's labels. Raises `BadInput` and OSError."""
    annotation = reader.read(pair.inline.encode() if pair.inline else (folder / pair.annotation).read_bytes())
    if annotation.ids is not None:
        raise UserError(f"--from {folder}: ready masks hold ids and no labels; write their taxonomy by hand")
    return Counter(label for _, label in {(shape.number, shape.label) for shape in annotation.shapes})


def _tell(faults: list[str], files: int) -> None:
    for fault in faults[:TOLD]:
        sys.stderr.write(f"left out: {fault}\n")
    if faults:
        sys.stderr.write(f"{len(faults)} of {files} files or pairs left out\n")

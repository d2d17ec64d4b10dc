"""Readers of annotation files: one small module a format, all giving one `Annotation`."""

from __future__ import annotations

from pathlib import PurePosixPath

from beam_jobs.annotation import BadInput
from beam_jobs.formats import bdd100k, cityscapes, coco, labelme, masks, via, vistas
from beam_jobs.formats.base import Files, Format, parse_json
from configs.commands import UserError, did_you_mean

FORMATS: tuple[Format, ...] = (cityscapes, labelme, coco, via, bdd100k, vistas, masks)
"""In the order in which they are asked whether a file is theirs."""
FORMAT_NAMES = tuple(candidate.NAME for candidate in FORMATS)

_LOOKED_AT = 50


def format_by_name(name: str) -> Format:
    """A format by its name. Raises `UserError` when there is none."""
    for candidate in FORMATS:
        if name == candidate.NAME:
            return candidate
    meant = did_you_mean(name, FORMAT_NAMES) or ";"
    raise UserError(f"--format {name}: unknown{meant} there are auto, {', '.join(FORMAT_NAMES)}")


def detect_format(files: Files) -> Format:
    """The format of an input folder, by the content of the first JSON files that can be parsed.

    Raises:
      UserError: no file is of any known format.
    """
    for path in [path for path in files.paths if path.lower().endswith(".json")][:_LOOKED_AT]:
        try:
            value = parse_json(files.read(path))
        except (BadInput, OSError):
            value = None
        for candidate in FORMATS:
            if candidate.recognizes(PurePosixPath(path), value):
                return candidate
    if masks.has_masks(files):
        return masks
    raise UserError(
        f"--input {files.folder}: no annotations of a known format found in {len(files.paths)} files; "
        f"say which it is with --format ({', '.join(FORMAT_NAMES)})"
    )

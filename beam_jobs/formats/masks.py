"""Folders of ready masks: 8-bit PNGs of class ids, grey or palette, of the same names as the images.

    images/train/a.jpg   masks/train/a.png        (or labels/, annotations/, segmentation/, gtFine/, …)

A mask's values are class ids and 255, or what the taxonomy's table ``ids`` says they are. Of a palette
only the indices count.
"""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from beam_jobs.annotation import Annotation, BadInput
from beam_jobs.formats.base import IMAGE_SUFFIXES, Files, Found, pair_by_key, tree_key

NAME = "masks"
TURNED = False
MASK_TREES = frozenset(
    (
        *("masks", "mask", "labels", "label", "annotations", "annotation"),
        *("segmentation", "segmentationclass", "gtfine", "gtcoarse"),
    )
)
_ENDINGS = re.compile(
    r"(_leftImg8bit|_gtFine_labelIds|_gtFine_labelTrainIds|_labelIds|_mask|_label|_train_id|_L)$", re.I
)


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Never by a JSON file: it is what a folder without one is taken for, if its trees have the names."""
    return False


def find(files: Files) -> Found:
    """Pair images with PNGs in a tree of masks."""
    return pair_by_key(files, _image_key, _mask_key)


def has_masks(files: Files) -> bool:
    """Whether any PNG stands in a tree that bears a name of masks."""
    return any(_mask_key(PurePosixPath(path)) for path in files.paths)


def read(data: bytes) -> Annotation:
    """The bytes of a mask to an `Annotation` that holds its values. Raises `BadInput`."""
    if not data:
        raise BadInput("annotation_empty", "the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "BMP"]) as picture:
            picture.load()
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise BadInput("mask_damaged", f"not a PNG mask ({error})") from None
    if picture.mode not in ("L", "P", "1"):
        raise BadInput("mask_mode", f"the mask has mode {picture.mode}; expected 8 bits, grey or palette")
    ids = np.asarray(picture).astype(np.uint8)
    return Annotation(picture.height, picture.width, [], ids=ids)


def _in_mask_tree(path: PurePosixPath) -> bool:
    return any(folder.lower() in MASK_TREES for folder in path.parts[:-1])


def _mask_key(path: PurePosixPath) -> str | None:
    if path.suffix.lower() not in (".png", ".bmp") or not _in_mask_tree(path):
        return None
    return tree_key(path, _ENDINGS.sub("", path.stem))


def _image_key(path: PurePosixPath) -> str | None:
    if path.suffix.lower() not in IMAGE_SUFFIXES or _in_mask_tree(path):
        return None
    return tree_key(path, _ENDINGS.sub("", path.stem))

"""Tiny input folders of any annotation format: images, JSON files, what a scan says of them, masks built from them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.convert import Built, build_record
from beam_jobs.formats import format_by_name
from beam_jobs.options import BuildOptions
from beam_jobs.plan import make_plan
from beam_jobs.scan import scan
from configs.taxonomy import Taxonomy, load_taxonomy
from tests.streets import TINY

DEEP = "[" * 2000 + "]" * 2000
"""JSON nested deeper than any parser goes."""


def write_images(root: Path, *paths: str, size: tuple[int, int] = TINY) -> Path:
    """Dark grey images of (height, width) at these paths below a folder, which is returned."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1], (20, 20, 20)).save(root / path)
    return root


def write_json(root: Path, path: str, value: Any) -> Path:
    """JSON, or bytes as they are, at a path below a folder, which is returned."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return root


def keys(folder: Path, name: str = "auto") -> list[str]:
    """The keys of the pairs that a scan finds."""
    return [pair.key for pair in scan(folder, name).pairs]


def letters(folder: Path, name: str = "auto") -> list[tuple[str, str, str]]:
    """(key, code, message) of a scan's dead letters, all of which name a file that the message begins with."""
    dead = scan(folder, name).dead_letters
    assert all(letter.stage == "scan" and letter.message.startswith(letter.source) for letter in dead)
    return [(letter.key, letter.code, letter.message) for letter in dead]


def refused(name: str, value: Any) -> tuple[str, str]:
    """(code, message) with which a format's `read` refuses a value as JSON, or bytes as they are."""
    with pytest.raises(BadInput) as caught:
        format_by_name(name).read(value if isinstance(value, bytes) else json.dumps(value).encode())
    assert len(str(caught.value)) < 300
    return caught.value.code, str(caught.value)


def build_all(
    folder: Path, taxonomy: Taxonomy | str = "camvid11", name: str = "auto", **options: Any
) -> dict[str, Built | BadInput]:
    """Key → what became of each pair that a scan finds."""
    given = BuildOptions(input=folder, **options)
    words = load_taxonomy(taxonomy) if isinstance(taxonomy, str) else taxonomy
    plan = make_plan(scan(folder, name), folder, words, given, "")
    built: dict[str, Built | BadInput] = {}
    for pair in (pair for shard in plan.shards for pair in shard.pairs):
        try:
            built[pair.key] = build_record(plan, pair, full_decode=False)
        except BadInput as error:
            built[pair.key] = error
    return built


def masks(folder: Path, taxonomy: Taxonomy | str = "camvid11", **options: Any) -> dict[str, np.ndarray]:
    """Key → uint8 (height, width), for a folder of which all is good."""
    built = build_all(folder, taxonomy, **options)
    assert not [str(one) for one in built.values() if isinstance(one, BadInput)]
    return {
        key: np.asarray(Image.open(io.BytesIO(one.record.mask))) for key, one in built.items() if isinstance(one, Built)
    }

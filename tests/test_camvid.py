"""Tests on the real CamVid images: every one becomes a record, and every mask is the published one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beam_jobs.build_records import build
from beam_jobs.options import BuildOptions
from beam_jobs.reconcile import Outcome
from pipelines.records import read_records
from tests.conftest import REPOSITORY
from tests.streets import shard_hashes


def build_camvid(camvid: Path, output: Path, workers: int) -> Outcome:
    outcome = build(BuildOptions(input=camvid, output=output, taxonomy="camvid11", name="camvid", workers=workers))
    assert outcome is not None
    return outcome


@pytest.fixture(scope="module")
def built(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """CamVid built by one worker, and what the build reported."""
    output = tmp_path_factory.mktemp("camvid") / "records"
    return output, build_camvid(camvid, output, workers=1)


def test_all_468_images_become_records(built):
    _, outcome = built
    assert outcome.dead_letters == []
    assert {name: split.records for name, split in outcome.manifest.splits.items()} == {"train": 367, "val": 101}
    assert outcome.manifest.sizes() == {(360, 480): 468}


def test_every_mask_is_the_published_one_with_void_as_255(built, camvid):
    output, outcome = built
    wrong = seen = 0
    for split, entry in outcome.manifest.splits.items():
        for shard in entry.shards:
            for record in read_records(output / shard.file):
                published = np.array(Image.open(camvid / "masks" / split / f"{record.key.rpartition('/')[2]}.png"))
                published[published == 11] = 255
                wrong += int((np.asarray(Image.open(io.BytesIO(record.mask))) != published).sum())
                seen += 1
    assert (seen, wrong) == (468, 0)


def test_images_are_kept_byte_for_byte(built, camvid):
    output, outcome = built
    shard = outcome.manifest.splits["val"].shards[0].file
    for record in read_records(output / shard):
        assert record.image == (camvid / record.filename).read_bytes()


def test_two_workers_write_the_same_bytes_as_one(built, camvid, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    build_camvid(camvid, tmp_path / "records", workers=2)
    assert shard_hashes(tmp_path / "records") == shard_hashes(built[0])

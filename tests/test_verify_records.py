"""Verification finds every kind of damage and names file and record; inspection draws what is there."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from beam_jobs import inspect_records, verify_records
from configs.commands import run_command
from pipelines.files import sha256_file
from pipelines.manifest import FILE_NAME
from pipelines.records import frame, read_frames, read_records, serialize


@pytest.fixture
def copy(tiny_records, tmp_path):
    """A copy of the tiny records that a test may damage."""
    return shutil.copytree(tiny_records, tmp_path / "records")


def shard_of(folder):
    """The first shard."""
    return next(path for path in sorted(folder.glob("*.tfrecord-*")) if path.suffix != ".json")


def rewrite(folder, change):
    """Replace the first shard's records by changed ones and make the manifest agree about its bytes."""
    shard = shard_of(folder)
    records = change(list(read_records(shard)))
    shard.write_bytes(b"".join(frame(serialize(record)) for record in records))
    manifest = json.loads((folder / FILE_NAME).read_text())
    entry = next(e for split in manifest["splits"].values() for e in split["shards"] if e["file"] == shard.name)
    entry.update(bytes=shard.stat().st_size, sha256=sha256_file(shard))
    (folder / FILE_NAME).write_text(json.dumps(manifest))
    return shard


def test_whole_records_have_no_fault(tiny_records):
    assert verify_records.verify(tiny_records, workers=1) == []


def test_a_flipped_bit_is_found_and_the_record_named(copy):
    shard = shard_of(copy)
    data = bytearray(shard.read_bytes())
    second = len(frame(next(read_frames(shard))))
    data[second + 40] ^= 1
    shard.write_bytes(bytes(data))
    faults = verify_records.verify(copy, workers=1)
    assert any("its sha256 is not the manifest's" in fault for fault in faults)
    assert any(re.search(rf"{shard.name}: record 1: damaged", fault) for fault in faults)


def test_a_cut_a_missing_and_a_foreign_shard_are_found(copy):
    cut, missing = [path for path in sorted(copy.glob("*.tfrecord-*")) if path.suffix != ".json"][:2]
    cut.write_bytes(cut.read_bytes()[:-3])
    missing.unlink()
    (copy / "tiny-train.tfrecord-00009-of-00009").write_bytes(b"")
    text = "\n".join(verify_records.verify(copy, workers=1))
    assert re.search(rf"{cut.name}: \d+ bytes, the manifest says \d+", text)
    assert f"{missing.name}: missing" in text
    assert "tiny-train.tfrecord-00009-of-00009: not in manifest.json; nothing reads it" in text


def test_a_dropped_record_is_found_although_the_shard_is_whole(copy):
    shard = rewrite(copy, lambda records: records[1:])
    count = sum(1 for _ in read_frames(shard))
    assert f"{shard}: {count} records, the manifest says {count + 1}" in verify_records.verify(copy, workers=1)


def test_changed_pixels_are_found_by_the_statistics(copy):
    rewrite(copy, lambda records: [records[0]._replace(mask=records[1].mask), *records[1:]])
    faults = verify_records.verify(copy, workers=1)
    assert any(fault.startswith("split train: class_pixels is") for fault in faults)


def test_an_id_outside_the_taxonomy_is_found(copy):
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(buffer, "PNG")
    rewrite(copy, lambda records: [records[0]._replace(mask=buffer.getvalue()), *records[1:]])
    (fault,) = verify_records.verify(copy, workers=1)
    assert re.search(r"record 0: 'train/.*': the mask holds id 77, the taxonomy has 0 to 10", fault)


def test_a_size_that_is_not_the_pictures_is_found(copy):
    rewrite(copy, lambda records: [records[0]._replace(height=64, width=48), *records[1:]])
    (fault,) = verify_records.verify(copy, workers=1)
    assert "the image is 48x64, the record says 64x48" in fault


def test_the_command_says_so_and_exits_1_on_a_fault_and_0_on_none(copy, capsys):
    assert run_command(verify_records.main, [str(copy), "--workers", "1"]) == 0
    assert "15 records in 2 splits, all as the manifest says" in capsys.readouterr().out
    shard_of(copy).unlink()
    assert run_command(verify_records.main, [str(copy), "--workers", "1"]) == 1
    assert run_command(verify_records.main, [str(copy / "nowhere")]) == 2


def test_inspection_prints_tables_and_draws_a_sheet(tiny_records, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    inspect_records.main([str(tiny_records), "--split", "val", "--sample", "3", "--output", str(sheet)])
    printed = capsys.readouterr().out
    assert "tiny: taxonomy camvid11, 0 dead letters of 15 inputs" in printed
    assert re.search(r"0 sky +#808080", printed)
    with Image.open(sheet) as picture:
        assert picture.width == 3 * 64 + 2 * 4  # three pictures and the gaps between them
        assert picture.height > 3 * 48
    assert run_command(inspect_records.main, [str(tiny_records), "--sample", "0"]) == 2
    assert run_command(inspect_records.main, [str(tiny_records), "--split", "test"]) == 2


def test_a_sample_is_spread_over_the_split(tiny_records):
    from pipelines.manifest import read_manifest

    manifest = read_manifest(tiny_records)
    sample = inspect_records.sample_records(tiny_records, manifest, "train", 5)
    everything = inspect_records.sample_records(tiny_records, manifest, "train", 99)
    assert len(everything) == 10
    assert [record.key for record in sample] == [record.key for record in everything[::2]]

"""Opening a folder of records: what is not as the manifest says is refused by name; any record is found by number."""

import json
import shutil

import numpy as np
import pytest

from configs.commands import UserError
from pipelines.dataset import open_records
from pipelines.records import DamagedRecords, frame, frame_offsets, read_frame, read_frames


@pytest.fixture
def copy(tiny_records, tmp_path):
    return shutil.copytree(tiny_records, tmp_path / "copy")


def shards(folder):
    return sorted(path for path in folder.glob("*.tfrecord-*") if path.suffix != ".json")


def edit_manifest(folder, edit):
    values = json.loads((folder / "manifest.json").read_text())
    edit(values["splits"]["train"])
    (folder / "manifest.json").write_text(json.dumps(values))


def test_every_record_is_found_by_its_number(tiny_records):
    records = open_records(tiny_records)
    reader = records.reader("train")
    stored = [data for shard in records.shards("train") for data in read_frames(tiny_records / shard.file)]
    assert len(reader) == len(stored) == 10
    for number in np.random.default_rng(0).permutation(10):
        assert reader.read(number) == stored[number]


def test_offsets_are_where_records_begin(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(frame(b"one") + frame(b"") + frame(b"three"))
    # 16 bytes stand around each record: 3 + 16, 0 + 16, 5 + 16.
    assert frame_offsets(path).tolist() == [0, 19, 35, 56]
    assert [read_frame(path, frame_offsets(path), index) for index in range(3)] == [b"one", b"", b"three"]


def test_a_file_that_is_cut_off_or_no_tfrecord_has_no_offsets(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(frame(b"one") + frame(b"two")[:-1])
    with pytest.raises(DamagedRecords, match="a: record 1: cut off"):
        frame_offsets(path)
    path.write_bytes(frame(b"one") + b"some other file, longer than a header")
    with pytest.raises(DamagedRecords, match="a: record 1: damaged length"):
        frame_offsets(path)


def test_a_record_whose_bytes_changed_is_not_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(frame(b"one") + frame(b"two").replace(b"two", b"owt"))
    offsets = frame_offsets(path)
    assert read_frame(path, offsets, 0) == b"one"
    with pytest.raises(DamagedRecords, match="record 1: damaged"):
        read_frame(path, offsets, 1)


def test_a_missing_shard_is_refused_by_name(copy):
    shards(copy)[0].unlink()
    with pytest.raises(UserError, match=f"{shards(copy)[0].name[:-14]}.*: missing, though the manifest lists it"):
        open_records(copy)


def test_a_shard_that_grew_is_refused_by_name(copy):
    with open(shards(copy)[1], "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=rf"{shards(copy)[1].name}: \d+ bytes, the manifest says \d+"):
        open_records(copy)


def test_a_shard_with_another_number_of_records_is_refused_by_name(copy):
    # Of the same size, but all in one record.
    path = shards(copy)[0]
    size = path.stat().st_size
    path.write_bytes(frame(bytes(size - 16)))
    with pytest.raises(UserError, match=f"{path.name}: 1 records, the manifest says 5"):
        open_records(copy)


def test_a_foreign_file_under_a_shards_name_is_refused_by_name(copy):
    path = shards(copy)[0]
    path.write_bytes(bytes(range(256)) * (path.stat().st_size // 256) + bytes(path.stat().st_size % 256))
    with pytest.raises(UserError, match=f"{path.name}: record 0: damaged length; build the records again"):
        open_records(copy)


def test_a_shard_of_other_records_of_the_same_size_is_found_by_its_sha256(copy):
    path = shards(copy)[0]
    frames = list(read_frames(path))
    path.write_bytes(b"".join(frame(data[::-1]) for data in frames))
    open_records(copy)  # sizes and counts are right
    with pytest.raises(UserError, match=f"{path.name}: its sha256 is not the manifest's"):
        open_records(copy, verify="sha256")


def test_whole_records_pass_by_sha256(tiny_records):
    assert open_records(tiny_records, verify="sha256").count("val") == 5


def test_a_file_that_the_manifest_does_not_list_is_never_read(copy):
    stray = shards(copy)[0].with_name("tiny-train.tfrecord-00002-of-00003")
    stray.write_bytes(b"half written")
    assert len(open_records(copy).reader("train")) == 10


def test_a_manifest_whose_split_is_not_the_sum_of_its_shards_is_refused(copy):
    edit_manifest(copy, lambda split: split.update(records=11))
    with pytest.raises(UserError, match="says 11 records in split train, its shards have 10"):
        open_records(copy)


def test_a_manifest_that_lies_about_a_shard_is_refused(copy):
    edit_manifest(copy, lambda split: split["shards"][1].update(records=6))
    with pytest.raises(UserError, match=f"{shards(copy)[1].name}: 5 records, the manifest says 6"):
        open_records(copy)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(tiny_records):
    with pytest.raises(UserError, match="split 'test' is not in the records; there are train, val"):
        open_records(tiny_records).reader("test")

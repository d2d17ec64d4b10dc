"""Tests of files that are either whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os

import pytest

from pipelines.files import AtomicFile, sha256_file, write_atomically, write_json


def test_a_file_has_its_name_only_after_the_block(tmp_path):
    path = tmp_path / "shard"
    with AtomicFile(path) as file:
        file.write(b"abc")
        file.write(b"")
        file.write(b"de")
        assert not path.exists()
    assert path.read_bytes() == b"abcde"
    assert os.listdir(tmp_path) == ["shard"]


def test_size_and_hash_are_those_of_the_bytes_on_the_disk(tmp_path):
    with AtomicFile(tmp_path / "shard") as file:
        file.write(b"abc")
        file.write(b"de")
    assert file.size == 5
    assert file.sha256 == hashlib.sha256(b"abcde").hexdigest() == sha256_file(tmp_path / "shard")


def test_an_error_leaves_what_had_the_name_and_nothing_else(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(b"old")

    def write() -> None:
        with AtomicFile(path) as file:
            file.write(b"new")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["shard"]


def test_a_left_over_temporary_file_is_in_nobodys_way(tmp_path):
    (tmp_path / "shard.tmp").write_bytes(b"left over from a killed process")
    write_atomically(tmp_path / "shard", "täxt")
    assert (tmp_path / "shard").read_bytes() == "täxt".encode()


def test_of_two_writers_at_once_the_last_to_end_wins_and_both_files_are_whole(tmp_path):
    # Beam may run one bundle twice at once, and two people may start the same build.
    path = tmp_path / "shard"
    with AtomicFile(path) as slow:
        slow.write(b"slow")
        with AtomicFile(path) as fast:
            fast.write(b"fast, and longer")
        assert path.read_bytes() == b"fast, and longer"
        slow.write(b" end")
    assert path.read_bytes() == b"slow end"
    assert os.listdir(tmp_path) == ["shard"]


def test_json_keeps_its_order_and_letters_and_ends_with_a_line(tmp_path):
    write_json(tmp_path / "x.json", {"b": "ä", "a": [1]})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n "b": "ä",\n "a": [\n  1\n ]\n}\n'


def test_json_of_half_a_surrogate_pair_can_be_written_and_read_back(tmp_path):
    # Such texts come from file names that are not UTF-8 and from JSON's "\ud800".
    write_json(tmp_path / "x.json", {"name": "a\udcff"})
    assert json.loads((tmp_path / "x.json").read_bytes()) == {"name": "a\udcff"}


def test_a_folder_that_is_missing_is_an_error_of_the_file_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "file", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told_with_the_name_of_the_file_that_was_not_written(tmp_path):
    def write() -> None:
        with AtomicFile(tmp_path / "shard") as file:
            file._file.close()
            file._file = io.FileIO("/dev/full", "w")
            file.write(b"abc")

    with pytest.raises(OSError, match=r"No space left on device: '.*shard'"):
        write()
    assert os.listdir(tmp_path) == []

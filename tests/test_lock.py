"""Two builds at once on one output: the second is refused with the owner named; a lock left behind is not held."""

import json
import os
from pathlib import Path

import pytest

from configs.commands import UserError
from configs.lock import is_held, lock_path, locked


def test_the_second_is_refused_and_told_who_is_first(tmp_path):
    output = tmp_path / "records"
    with locked(output, "--output", "building"):
        with (
            pytest.raises(UserError, match=rf"records.lock: process {os.getpid()} on .* is building there"),
            locked(output, "--output", "building"),
        ):
            pytest.fail("two builds at once")
        assert lock_path(output).is_file()
    assert os.listdir(tmp_path) == []


def test_a_lock_that_was_left_behind_is_recognised(tmp_path, capsys):
    output = tmp_path / "records"
    lock_path(output).write_text(json.dumps({"pid": 4711, "host": "there", "since": "2026-01-01 00:00:00"}))
    with locked(output, "--output", "building"):
        pass
    said = capsys.readouterr().out
    assert "left behind by process 4711 on there (since 2026-01-01 00:00:00), which is gone; going on" in said
    assert not lock_path(output).exists()


def test_what_was_left_behind_is_held_by_nobody(tmp_path):
    output = tmp_path / "records"
    assert not is_held(output)
    lock_path(output).write_text("{}")
    assert not is_held(output)
    with locked(output, "--output", "building"):
        assert is_held(output)


def test_the_current_folder_has_a_lock_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lock_path(Path(".")) == tmp_path.with_name(f"{tmp_path.name}.lock")


def test_the_lock_is_free_again_after_a_failure(tmp_path):
    output = tmp_path / "records"
    with pytest.raises(ValueError, match="broken"), locked(output, "--output", "building"):
        raise ValueError("broken")
    with locked(output, "--output", "building"):
        pass

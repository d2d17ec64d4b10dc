"""Tests of builds that stop: killed, failed or half swapped, the same command goes on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from beam_jobs import shards
from beam_jobs.shards import build_shard
from pipelines.manifest import FILE_NAME, read_manifest
from tests.builds import arguments_for, for_loop, planned, without_bars
from tests.conftest import cli_environment
from tests.streets import shard_hashes, write_street


def test_other_settings_on_the_same_output_are_refused_and_overwrite_replaces(tmp_path, streets, command):
    output = tmp_path / "out"
    arguments = arguments_for(streets, output)
    command(*arguments)
    before = shard_hashes(output)
    other = ["--resize", "24x32"]
    status, _, err = command(*arguments, *other)
    assert (status, err) == (
        2,
        f"error: --output {output}: holds records of another input, taxonomy or options; "
        "choose another --output, or pass --overwrite to replace them",
    )
    assert command(*arguments, "--set", "taxonomy=cityscapes19")[0] == 2
    assert shard_hashes(output) == before
    status, _, err = command(*arguments, *other, "--overwrite")
    assert (status, err) == (0, "")
    assert read_manifest(output).sizes() == {(24, 32): 9}
    assert not set(before.values()) & set(shard_hashes(output).values())
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out", "streets"]


def test_an_overwrite_that_fails_leaves_the_old_records_whole(tmp_path, streets, command):
    output = tmp_path / "out"
    command(*arguments_for(streets, output))
    before = shard_hashes(output)
    write_street(streets, "train/drive00/bad", image=b"")
    status, _, err = command(*arguments_for(streets, output, "--overwrite"))
    assert status == 1
    assert "1 of 10 inputs are bad" in err
    assert shard_hashes(output) == before
    assert read_manifest(output).planned == 9


def test_a_crash_between_the_two_renames_of_an_overwrite_is_mended(tmp_path, streets, command):
    output = tmp_path / "out"
    command(*arguments_for(streets, output))
    os.rename(output, tmp_path / "out.old")
    status, out, _ = command(*arguments_for(streets, output))
    assert (status, "already holds these records" in out) == (0, True)


def test_a_killed_build_goes_on_with_what_is_missing(tmp_path, streets, command):
    output = tmp_path / "out"
    arguments = arguments_for(streets, output)
    expected = for_loop(arguments, tmp_path / "loop")
    plan = planned(arguments, output)
    done = output / build_shard(plan, output, 1).file
    (output / f"{plan.shard_files[0]}.tmp").write_bytes(b"half a record")
    written = done.stat().st_mtime_ns
    status, out, err = command(*arguments)
    assert (status, err) == (0, "")
    assert "going on: 1 of 4 shards are already there" in out
    assert shard_hashes(output) == expected
    assert done.stat().st_mtime_ns == written
    assert not list(output.glob("*.tmp"))


def test_an_unfinished_build_of_another_plan_is_refused(tmp_path, streets, command):
    output = tmp_path / "out"
    planned(arguments_for(streets, output, "--set", "salt=other"), output)
    status, _, err = command(*arguments_for(streets, output))
    assert (status, err) == (
        2,
        f"error: --output {output}: holds an unfinished build of another plan (salt other and not streetmask); "
        "choose another --output, or pass --overwrite to replace them",
    )


def test_a_shard_that_was_deleted_or_cut_is_built_again(tmp_path, streets, command):
    output = tmp_path / "out"
    command(*arguments_for(streets, output))
    before = shard_hashes(output)
    first, second = sorted(before)[:2]
    (output / first).unlink()
    os.truncate(output / second, 100)
    status, out, _ = command(*arguments_for(streets, output))
    assert status == 0
    assert "going on: 2 of 4 shards are already there" in out
    assert shard_hashes(output) == before


def test_a_damaged_manifest_is_refused_and_overwrite_is_a_way_out(tmp_path, streets, command):
    output = tmp_path / "out"
    command(*arguments_for(streets, output))
    (output / FILE_NAME).write_text("{")
    status, _, err = command(*arguments_for(streets, output))
    assert (status, err.partition(" (")[0]) == (2, f"error: {output / FILE_NAME}: damaged")
    assert command(*arguments_for(streets, output, "--overwrite"))[0] == 0
    assert read_manifest(output).planned == 9


def test_a_fault_of_the_machine_is_one_line_and_the_same_command_goes_on(tmp_path, streets, command, monkeypatch):
    output = tmp_path / "out"

    def full(record: object) -> bytes:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "serialize", full)
        status, _, err = command(*arguments_for(streets, output))
    assert status == 1
    assert err.startswith("failed: ")
    assert "No space left on device" in err
    assert err.endswith(f"run the same command to go on from here; details in {tmp_path / 'out.log'}")
    assert "\n" not in err
    assert "Traceback" in (tmp_path / "out.log").read_text()
    assert not (output / FILE_NAME).exists()
    assert command(*arguments_for(streets, output))[0] == 0
    assert shard_hashes(output) == for_loop(arguments_for(streets, output), tmp_path / "loop")


def test_finalize_ends_a_detached_run(tmp_path, streets, command):
    output = tmp_path / "out"
    for_loop(arguments_for(streets, output), output)
    status, out, err = command("finalize", output)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"9 records in {output}"
    assert read_manifest(output).planned == 9
    assert command("finalize", output) == (2, "", f"error: {output}: no plan here; nothing to finalize")
    assert command("finalize")[0] == 2


def test_finalize_of_a_run_that_is_not_done_fails(tmp_path, streets, command):
    plan = planned(arguments_for(streets, tmp_path / "out"), tmp_path / "out")
    status, _, err = command("finalize", tmp_path / "out")
    assert (status, err.partition(",")[0]) == (1, "failed: 4 of 4 shards are missing or damaged")
    assert plan.shard_files[0] in err


def large_streets(root: Path, images: int) -> Path:
    """Links to one image of 1200x1800, so that a build with ``--resize`` takes about 50 ms an image."""
    source, annotation = write_street(root, "train/drive00/frame0000")
    Image.open(source).resize((1800, 1200), Image.Resampling.BICUBIC).save(source, quality=95)
    annotation.write_text(json.dumps({"imgHeight": 1200, "imgWidth": 1800, "objects": []}))
    for index in range(1, images):
        for path in (source, annotation):
            os.link(path, path.with_name(path.name.replace("0000", f"{index:04d}")))
    return root


def descendants(pid: int) -> Iterator[int]:
    """Process ids of all that descend from a process."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(status.read_text().rpartition(")")[2].split()[1]), []).append(
                int(status.parent.name)
            )
        except OSError:
            continue
    pending = parents.get(pid, [])
    while pending:
        child = pending.pop()
        pending += parents.get(child, [])
        yield child


def worker_of(pid: int) -> int | None:
    """A Beam worker's Python process (not the shell that started it) below a process."""
    for child in descendants(pid):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"apache_beam.runners.worker.sdk_worker_main" in words:
            return child
    return None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker process in /proc")
def test_a_worker_killed_in_mid_build_ends_the_command_and_the_same_command_goes_on(tmp_path, command):
    streets, output = large_streets(tmp_path / "streets", 48), tmp_path / "out"
    arguments = [*arguments_for(streets, output, "--workers", "2", "--resize", "240x360"), "--shards", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs.build_records", *map(str, arguments)],
        env=cli_environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while sum(path.stat().st_size for path in output.glob("plan/*.progress")) < 3:
            try:
                pytest.fail(f"ended too soon with {process.wait(timeout=0.02)}: {process.communicate()[1]}")
            except subprocess.TimeoutExpired:
                continue
        worker = worker_of(process.pid)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        # Beam alone would wait for ever; ten seconds are the promise, a fraction of one is what it takes.
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert without_bars(err) == (
        "failed: a worker process died (out of memory, perhaps: try fewer --workers); "
        f"run the same command to go on from here; details in {output}.log"
    )
    assert not (output / FILE_NAME).exists()
    status, _, err = command(*arguments)
    assert (status, err) == (0, "")
    assert shard_hashes(output) == for_loop(arguments, tmp_path / "loop")

"""Tests of the whole build command: the same bytes however it runs, what it says, and what it refuses.

Most run the command's ``main`` in this process with one worker. How a build goes on after a stop stands in
test_build_recovery.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import beam_jobs.build_records as command_module
from beam_jobs.sample_data import make_sample_data
from configs.taxonomy import load_taxonomy
from pipelines.manifest import FILE_NAME, read_manifest
from tests.builds import arguments_for, for_loop, without_bars
from tests.streets import make_streets, shard_hashes, write_street


def test_one_worker_two_workers_and_a_for_loop_write_the_same_bytes(tmp_path, streets, command, run_cli):
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    expected = for_loop(arguments_for(streets, tmp_path / "loop"), tmp_path / "loop")
    assert len(expected) == 4
    status, _, err = command(*arguments_for(streets, one))
    assert (status, err) == (0, "")
    (tmp_path / "deep").mkdir()
    done = run_cli(
        "beam_jobs.build_records",
        *arguments_for(Path("../streets"), Path("two"), "--workers", "2"),
        cwd=tmp_path / "deep",
        env={"PYTHONHASHSEED": "1"},
    )
    assert (done.returncode, without_bars(done.stderr)) == (0, "")
    assert "9 records in two" in done.stdout
    assert shard_hashes(one) == shard_hashes(two) == expected
    assert read_manifest(one).plan_digest == read_manifest(two).plan_digest
    assert read_manifest(one).splits == read_manifest(two).splits
    assert read_manifest(two).command_line.startswith("python -m beam_jobs.build_records --input ../streets ")


def test_the_summary_names_splits_classes_and_dead_letters(tmp_path, streets, command):
    write_street(streets, "train/drive00/few", objects=[{"label": "car", "polygon": [[1, 2]]}])
    _, out, _ = command(*arguments_for(streets, tmp_path / "out"))
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("train")).split()[1:3] == ["7", "2"]
    assert "48x64 (7)" in out
    assert {word for line in lines for word in line.split()} >= set(load_taxonomy("camvid11").class_names)
    assert "objects with few points: 1" in lines
    assert "dead letters: 0 of 10 inputs" in lines
    assert lines[-1].startswith(f"10 records in {tmp_path / 'out'} in ")


def test_a_second_run_says_that_all_is_there(tmp_path, streets, command):
    arguments = arguments_for(streets, tmp_path / "out")
    command(*arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert command(*arguments) == (
        0,
        f"{tmp_path / 'out'} already holds these records; nothing to do (--overwrite builds them again)\n",
        "",
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shrads", "3"], "unknown argument '--shrads'; did you mean '--shards'? (see --help)"),
        (["--job_nam=x"], "unknown argument '--job_nam'; did you mean '--job_name'? (see --help)"),
        (["--workers", "-1"], "--workers: workers = -1: input should be greater than or equal to 0"),
        (["--resize", "48"], "argument --resize: '48' is not HxW, such as 512x1024 (height first) (see --help)"),
        (["--set", "resise=1"], "--set resise=1: unknown key 'resise'; did you mean 'resize'?"),
        (["--config", "none.yaml"], "none.yaml: no such file"),
        (["--input", "nowhere"], "--input nowhere: no such folder"),
        (["--set", "taxonomy=camvid12"], "taxonomy 'camvid12' is unknown; did you mean 'camvid11'? there are "),
        (["--set", "taxonomy=null"], "which classes? add --set taxonomy=NAME ("),
        (
            ["--output", "streets/records"],
            "--output streets/records lies inside --input streets; choose another folder",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2_before_any_work(tmp_path, streets, command, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*arguments_for(Path("streets"), Path("out"), *more))
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert "\n" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["streets"]


def test_a_mistake_in_a_process_of_its_own_is_one_line_too(tmp_path, streets, run_cli):
    done = run_cli("beam_jobs.build_records", *arguments_for(streets, Path("out"), "--shrads", "3"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: unknown argument '--shrads'; did you mean '--shards'? (see --help)\n"
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_no_place_for_records_is_refused_and_left_alone(tmp_path, streets, command):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    for output, message in {
        "file": "is a file",
        "file/below": "cannot be written (File exists)",
        "full": "not empty (thesis.tex) and no records; choose another folder",
    }.items():
        for more in ([], ["--overwrite"]):
            status, _, err = command(*arguments_for(streets, tmp_path / output, *more))
            assert (status, err) == (2, f"error: --output {tmp_path / output}: {message}")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_a_place_for_records(tmp_path, streets, command):
    (tmp_path / "out").mkdir()
    assert command(*arguments_for(streets, tmp_path / "out"))[0] == 0


def test_a_bad_image_among_two_hundred_is_told_and_does_not_fail_the_build(tmp_path, command):
    streets = make_streets(tmp_path / "streets", splits={"train": 199})
    write_street(streets, "train/drive00/bad", image=b"<html>")
    status, out, err = command(*arguments_for(streets, tmp_path / "out"))
    assert (status, err) == (0, "")
    letters = tmp_path / "out" / "dead_letters.jsonl"
    assert f"dead letters: 1 of 200 inputs (not_an_image 1); see {letters}" in out.splitlines()
    assert [json.loads(line)["code"] for line in letters.read_text().splitlines()] == ["not_an_image"]
    assert read_manifest(tmp_path / "out").splits["train"].records == 199


def test_too_many_bad_images_fail_with_a_list_and_a_higher_limit_goes_on(tmp_path, streets, command):
    output = tmp_path / "out"
    write_street(streets, "train/drive00/bad", image=b"<html>")
    status, _, err = command(*arguments_for(streets, output))
    assert status == 1
    assert err.startswith("failed: 1 of 10 inputs are bad, above --max-bad-fraction 0.01; most often not_an_image (1 ")
    assert "\n" not in err
    assert not (output / FILE_NAME).exists()
    assert len((output / "dead_letters.jsonl").read_text().splitlines()) == 1
    status, out, err = command(*arguments_for(streets, output, "--max-bad-fraction", "0.1"))
    assert (status, err) == (0, "")
    assert "going on: 4 of 4 shards are already there" in out


def test_what_the_scan_finds_fails_the_build_before_any_image_is_read(tmp_path, streets, command):
    write_street(streets, "train/drive00/alone")[1].unlink()
    status, _, err = command(*arguments_for(streets, tmp_path / "out"))
    assert status == 1
    assert "most often no_annotation (1 times)" in err
    assert not shard_hashes(tmp_path / "out")
    assert len((tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines()) == 1


def test_without_an_input_the_sample_is_made_and_built(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        command_module, "make_sample_data", lambda folder: make_sample_data(folder, images=3, size=(96, 160))
    )
    status, out, err = command("--workers", "1", "--runner", "DirectRunner")
    assert (status, err) == (0, "")
    assert out.startswith(f"no --input: using the sample data set in {Path('data/sample')}\n")
    manifest = read_manifest(tmp_path / "data" / "records")
    assert (manifest.name, manifest.taxonomy.name, manifest.sizes()) == ("sample", "camvid11", {(96, 160): 3})

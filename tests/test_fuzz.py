"""Tests of the fuzzer, and 2,000 of its cases; ``make fuzz`` tries 100,000."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from beam_jobs.annotation import Annotation
from beam_jobs.formats import FORMATS, cityscapes
from beam_jobs.rasterize import Mask
from configs.commands import RunError, UserError, run_command
from tests import fuzz as fuzzer
from tests.fuzz import SIZE, fuzz, main, mutate, seeds, try_case

NAMES = [reader.NAME for reader in FORMATS]


@pytest.fixture(autouse=True)
def inputs_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failing case writes goes to the test's own folder."""
    monkeypatch.setattr(fuzzer.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fuzzer, "_limit_memory", lambda: None)


def test_two_thousand_damaged_files_of_all_formats_give_masks_or_bad_input():
    outcomes = fuzz(2000, seed=0)
    # A fuzzer whose files are all sound, or all hopeless, would prove nothing.
    assert outcomes["masks"] > 200
    assert outcomes["annotation_not_json"] > 200
    assert len(outcomes) > 25


@pytest.mark.parametrize("reader", FORMATS, ids=NAMES)
def test_the_sound_files_give_masks_before_they_are_damaged(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzer, "mutate", lambda data, dice: data)
    number = FORMATS.index(reader)
    for sound in seeds(reader):
        monkeypatch.setattr(fuzzer, "seeds_of", lambda name, sound=sound: [sound])
        folder = tmp_path / reader.NAME
        (folder / sound.path).parent.mkdir(parents=True, exist_ok=True)
        data, outcomes, failure = try_case(0, number, tmp_path)
        assert data == sound.data
        assert failure is None
        assert outcomes[f"taken for {reader.NAME}"] == 1
        assert outcomes["masks"] >= 1 or outcomes["mask_mode"] == 1  # one of the ready masks is RGB


def test_a_case_depends_on_its_seed_and_number_alone(tmp_path):
    for number, reader in enumerate(FORMATS):
        for sound in seeds(reader):
            (tmp_path / reader.NAME / sound.path).parent.mkdir(parents=True, exist_ok=True)
        first, again, other = (try_case(seed, number, tmp_path)[0] for seed in (1, 1, 2))
        assert first == again != other


def test_damage_changes_files_and_keeps_them_small():
    dice = fuzzer.random.Random(3)
    sound = seeds(cityscapes)[0].data
    damaged = [mutate(sound, dice) for _ in range(300)]
    assert sum(data != sound for data in damaged) > 280
    assert len(set(damaged)) > 250
    assert max(map(len, damaged)) <= fuzzer.LARGEST


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run_command(main, list(arguments))
    return status, *capsys.readouterr()


def test_the_command_tells_what_came_out(capsys):
    status, out, _ = run(capsys, "--count", "70", "--seed", "5")
    assert status == 0
    assert out.startswith("70 files: ")


def broken_read(data: bytes) -> Annotation:
    raise ZeroDivisionError("a defect")


def slow_read(data: bytes) -> Annotation:
    try:
        while True:
            time.monotonic()
    except Exception as error:  # which a reader may well do
        raise AssertionError from error


@pytest.mark.parametrize(
    ("read", "kind"),
    [(broken_read, "ZeroDivisionError in test_fuzz.py, broken_read"), (slow_read, "hang")],
    ids=["exception", "hang"],
)
def test_an_exception_or_a_hang_fails_with_seed_case_and_input(capsys, monkeypatch, tmp_path, read, kind):
    monkeypatch.setattr(fuzzer, "LONGEST_S", 0.05)
    monkeypatch.setattr(cityscapes, "read", read)
    # Case 0 and every seventh are Cityscapes'; 8 cases hold two of them.
    status, out, err = run(capsys, "--count", str(len(FORMATS) + 1), "--seed", "9")
    assert status == 1
    assert f"failed: 2 of {len(FORMATS) + 1} cases failed: {kind} (2 times)" in err
    line = next(line for line in out.splitlines() if line.startswith(kind))
    assert ": cityscapes, python -m tests.fuzz --seed 9 --first 0 --count 1; input " in line
    assert Path(line.rpartition("input ")[2]).read_bytes() == try_case(9, 0, tmp_path)[0]


def mask_of(ids: np.ndarray, drawn: np.ndarray | None = None) -> Mask:
    return Mask(fuzzer.Image.fromarray(ids if drawn is None else drawn), ids, Counter())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (mask_of(np.zeros(SIZE[::-1], np.uint8)), r"mask of shape \(64, 48\), uint8"),
        (mask_of(np.zeros(SIZE, np.int32)), r"mask of shape \(48, 64\), int32"),
        (mask_of(np.full(SIZE, 3, np.uint8)), "mask with ids that the taxonomy lacks"),
        (mask_of(np.full(SIZE, 254, np.uint8)), "mask with ids that the taxonomy lacks"),
        (mask_of(np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8)), "mask whose picture is another"),
    ],
    ids=["size", "type", "next id", "another id", "picture"],
)
def test_a_wrong_mask_fails(monkeypatch, mask, message):
    monkeypatch.setattr(fuzzer, "mutate", lambda data, dice: data)
    monkeypatch.setattr(fuzzer, "rasterize", lambda *_: mask)
    with pytest.raises(RunError, match="WrongMask"):
        fuzz(1, 0)
    with pytest.raises(fuzzer.WrongMask, match=message):
        fuzzer._check_mask(mask)


def test_a_mistyped_flag_is_the_users_mistake():
    with pytest.raises(UserError, match="did you mean '--count'"):
        main(["--cuont", "3"])

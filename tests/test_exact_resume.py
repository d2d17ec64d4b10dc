"""A run that is killed again and again ends as if nothing had happened: weights to the bit, numbers, curves."""

import random
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import cli_environment
from tests.runs import SMALL, curves, last_step, read_rows, weights

EPOCHS, STEPS_AN_EPOCH, KILLS = 6, 3, 5
FLAGS = [
    *SMALL,
    *("--set", f"train.epochs={EPOCHS}", "--set", "train.ema=0.9", "--set", "train.keep_checkpoints=2"),
    "--deterministic",
]
# The loop itself is what a person starts; it is killed from inside, where the step is known.
KILLED = """
import os, signal, sys
from model import monitors
from model.train import main
on_batch, left = monitors.ProgressBar.on_train_batch_end, [int(sys.argv[1])]
def count(self, batch, logs=None):
    on_batch(self, batch, logs)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
monitors.ProgressBar.on_train_batch_end = count
main(sys.argv[2:])
"""
TIMES = ("images_per_second", "data_wait")


def train(folder, records, *flags, steps=0):
    """Run the command, killed after so many of its steps; 0 lets it end."""
    command = [sys.executable, "-c", KILLED, steps, "--data", records, "--run", folder, *FLAGS, *flags]
    return subprocess.run(
        list(map(str, command)), env=cli_environment(), cwd=folder.parent, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_five_kills_leave_no_trace(tiny_records, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finished = train(whole, tiny_records)
    assert finished.returncode == 0, finished.stderr
    draw, resumed_from = random.Random(20), []
    for _ in range(KILLS):
        killed = train(broken, tiny_records, "--resume", steps=draw.randint(2, STEPS_AN_EPOCH + 2))
        assert killed.returncode == -9, killed.stdout + killed.stderr
        resumed_from.append("from step" in killed.stdout)
    finished = train(broken, tiny_records, "--resume")
    assert finished.returncode == 0, finished.stderr
    assert any(resumed_from)
    assert last_step(broken).name == last_step(whole).name == f"step-{EPOCHS * STEPS_AN_EPOCH:08d}"
    for name in ("model.weights.h5", "average.weights.h5"):
        expected, found = weights(last_step(whole), name), weights(last_step(broken), name)
        assert expected.keys() == found.keys()
        for path, value in expected.items():
            np.testing.assert_array_equal(found[path], value, err_msg=path)
    rows, expected_rows = ([drop_times(row) for row in read_rows(folder)] for folder in (broken, whole))
    assert rows == expected_rows
    assert len(rows) == EPOCHS
    for writer in ("train", "validation"):
        one, other = (drop_times(curves(folder, writer)) for folder in (broken, whole))
        assert one == other
        assert [step for step, _ in one["loss"]] == [STEPS_AN_EPOCH * (epoch + 1) for epoch in range(EPOCHS)]


def drop_times(values):
    """Without what a clock says."""
    return {key: value for key, value in values.items() if not key.endswith(TIMES)}

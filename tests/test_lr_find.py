"""The learning rate range test."""

import math
import re

import pytest

from configs.commands import RunError
from tests.runs import SMALL


def test_the_rate_of_the_steepest_fall_is_found_and_the_test_ends_when_the_loss_explodes(tensorflow_ready):
    from model.lr_find import HIGHEST, LOWEST, STEPS, Point, smoothed, steepest

    losses = [2.0] * 50 + [2.0 - 0.05 * step for step in range(20)] + [50.0] * 30
    rates = [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]
    points = smoothed(map(Point, rates, losses))
    assert len(points) < 75
    assert points[0].rate == pytest.approx(LOWEST)
    step = math.log(steepest(points) / LOWEST) / math.log(HIGHEST / LOWEST) * (STEPS - 1)
    assert 60 <= step <= 70  # smoothing lags behind


def test_nan_ends_it_and_a_loss_that_never_falls_is_said(tensorflow_ready):
    from model.lr_find import Point, smoothed, steepest

    assert len(smoothed(Point(0.1, loss) for loss in (1.0, 1.0, math.nan, 1.0))) == 2
    with pytest.raises(RunError, match="never fell"):
        steepest(smoothed(Point(0.1, loss) for loss in (1.0, 1.1, 1.2)))


def test_from_the_command_line_it_says_a_rate_and_leaves_nothing(tensorflow_ready, tiny_records, tmp_path, capsys):
    from model.train import main

    main(["--data", str(tiny_records), "--run", str(tmp_path / "run"), *SMALL, "--lr-find"])
    printed = capsys.readouterr().out
    rate = float(re.search(r"fell fastest at (\S+);", printed)[1])
    assert 1e-6 < rate < 1
    assert printed.count("=") > 100
    assert not (tmp_path / "run").exists()

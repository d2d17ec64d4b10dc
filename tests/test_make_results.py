"""The page of results: made of a run's folder, the same every time, without a photograph unless it may show one."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beam_jobs.inspect_records import sample_records
from configs.commands import run_command
from pipelines.pictures import colorize
from tests.make_results import NO_GPU, NOT_WRONG, WRONG, main, trained_seconds, where_wrong, without_folders
from tests.streets import TINY

SMALL = [
    *("--set", "model.backbone=resnet18", "--set", "model.decoder_filters=[8,8,8,8,8]", "--set", "data.size=null"),
    *("--set", "train.epochs=2", "--set", "train.evaluate_every=2", "--set", "train.batch_size=4"),
    *("--set", "train.pictures=0"),
]
HEIGHT, WIDTH = TINY
HEAD, GAP = 20, 4
"""Of a sheet: the height of its line of titles, and what lies between its pictures."""


@pytest.fixture(scope="module")
def run(tensorflow_ready, tiny_records, tmp_path_factory) -> Path:
    """A run of two epochs of three steps, scored after the second, and its report."""
    from model import evaluate, train

    folder = tmp_path_factory.mktemp("results") / "runs" / "tiny"
    arguments = ["--data", str(tiny_records), "--run", str(folder), *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["/home/somebody/streetmask/model/train.py", *arguments])
        train.main(arguments)
    evaluate.main(["--run", str(folder)])
    return folder


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Path:
    """The page as it is made without a flag, but for where."""
    output = tmp_path_factory.mktemp("docs") / "results.md"
    main([str(run), "--output", str(output), "--pictures", "2"])
    return output


def panels(picture: Path, row: int, count: int) -> list[np.ndarray]:
    """The pictures of one row of a sheet, uint8 (48, 64, 3)."""
    sheet = np.asarray(Image.open(picture))
    top = HEAD + GAP + row * (HEIGHT + GAP)
    lefts = [column * (WIDTH + GAP) for column in range(count)]
    return [sheet[top : top + HEIGHT, left : left + WIDTH] for left in lefts]


def stored(run: Path, row: int) -> tuple[np.ndarray, np.ndarray]:
    """The image and the mask that a row shows: of 5 validation images, 2 evenly spread ones are the first and third."""
    from model.runs import open_run

    opened = open_run(run)
    record = sample_records(opened.recipe.data.records, opened.manifest, "val", 2)[row]
    return tuple(np.asarray(Image.open(io.BytesIO(data))) for data in (record.image, record.mask))


def test_the_page_holds_the_reports_figures_and_the_commands(run, page):
    text = page.read_text()
    report = json.loads((run / "report" / "report.json").read_text())
    assert "| [tiny](#tiny) | tiny | unet resnet18 | 48x64 | 2 | 2 | " in text
    assert f"| val, 5 images | {report['mean_iou']:.3f} |" in text
    for name, iou in report["per_class_iou"].items():
        assert f"| {name} | {'-' if iou is None else format(iou, '.3f')} |" in text
    assert f"| **mean** | **{report['mean_iou']:.3f}** |" in text
    assert "    python -m model.train --data records --run tiny --set model.backbone=resnet18" in text
    assert "    python -m model.evaluate --run runs/tiny --split val" in text
    assert NO_GPU in text


def test_the_page_tells_nothing_of_the_machines_folders(page):
    assert not re.search(r"(?<![\w.])/\w", page.read_text())


def test_the_pictures_that_the_page_names_are_there(page):
    named = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())
    assert sorted(named) == ["results/tiny.png", "results/tiny_curves.svg"]
    assert sorted(str(path.relative_to(page.parent)) for path in page.parent.rglob("*.*g")) == sorted(named)


def test_without_leave_a_sheet_shows_neither_photograph_nor_truth(run, page):
    from model.predict import make_predictor
    from model.runs import open_run

    opened = open_run(run)
    predict = make_predictor(opened, "best")
    picture = page.parent / "results" / "tiny.png"
    assert Image.open(picture).width == 2 * WIDTH + GAP
    for row in range(2):
        image, mask = stored(run, row)
        predicted = predict(image)
        prediction, wrong = panels(picture, row, 2)
        np.testing.assert_array_equal(prediction, colorize(predicted, opened.manifest.taxonomy))
        assert {*map(tuple, wrong.reshape(-1, 3))} <= {WRONG, NOT_WRONG}
        assert (wrong == WRONG).all(axis=-1).sum() == ((mask != predicted) & (mask != 255)).sum()


def test_a_data_set_that_may_be_shown_is_shown_with_photograph_and_truth(run, page, tmp_path):
    from model.runs import open_run

    output = tmp_path / "results.md"
    main([str(run), "--output", str(output), "--pictures", "2", "--photographs", "other", "tiny"])
    for row in range(2):
        image, mask = stored(run, row)
        shown = panels(tmp_path / "results" / "tiny.png", row, 4)
        np.testing.assert_array_equal(shown[0], image)
        np.testing.assert_array_equal(shown[1], colorize(mask, open_run(run).manifest.taxonomy))
        for ours, alone in zip(shown[2:], panels(page.parent / "results" / "tiny.png", row, 2), strict=True):
            np.testing.assert_array_equal(ours, alone)


def test_the_same_run_gives_the_same_bytes(run, page, tmp_path):
    main([str(run), "--output", str(tmp_path / "results.md"), "--pictures", "2"])
    made, again = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        for folder in (page.parent, tmp_path)
    )
    assert len(made) == 3
    assert again == made


def test_only_scored_pixels_can_be_wrong():
    mask = np.array([[0, 1, 2], [255, 255, 3]], np.uint8)
    predicted = np.array([[0, 2, 2], [0, 1, 1]], np.uint8)
    expected = [[NOT_WRONG, WRONG, NOT_WRONG], [NOT_WRONG, NOT_WRONG, WRONG]]
    np.testing.assert_array_equal(where_wrong(mask, predicted), expected)


def test_time_between_a_stop_and_a_resumption_does_not_count(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event

    from pipelines.records import frame

    # 60 s in two files at once, and after a pause 30 s more: 90 s.
    times = {"train": (100.0, 130.0, 160.0), "validation": (101.0, 160.0), "train/again": (1000.0, 1030.0)}
    for name, moments in times.items():
        (tmp_path / name).mkdir()
        events = b"".join(frame(Event(wall_time=moment).SerializeToString()) for moment in moments)
        (tmp_path / name / "events.out.tfevents.1.machine.2.0.v2").write_bytes(events)
    assert trained_seconds(tmp_path) == 90.0


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--data /a/b/records --run runs/x", "--data records --run runs/x"),
        ("--set data.records=/a/records", "--set data.records=records"),
        ("--config configs/demo.yaml --set train.loss=[{name: dice}]", None),
        ("--input gs://bucket/streets", None),
    ],
)
def test_a_command_loses_absolute_paths_and_nothing_else(command, expected):
    assert without_folders(command) == (expected or command)


def test_a_run_without_its_report_or_with_an_old_one_is_the_users_mistake(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    output = ["--output", str(tmp_path / "results.md")]
    report = json.loads((copy / "report" / "report.json").read_text())
    (copy / "report" / "report.json").write_text(json.dumps(report | {"step": 3}))
    assert run_command(main, [str(copy), *output]) == 2
    assert f"is of step 3, not of the best checkpoint; make it again with python -m model.evaluate --run {copy}" in (
        capsys.readouterr().err
    )
    shutil.rmtree(copy / "report")
    assert run_command(main, [str(copy), *output]) == 2
    assert f"{copy}: has no report yet; make it with python -m model.evaluate --run {copy}" in capsys.readouterr().err
    assert run_command(main, [str(run), str(run), *output]) == 2
    assert "two runs of one name" in capsys.readouterr().err
    assert not (tmp_path / "results.md").exists()

"""Write docs/results.md from finished runs: commands, time, IoU by class, curves, pictures.

    python -m model.evaluate --run runs/camvid_unet
    python -m tests.make_results runs/camvid_unet runs/demo --photographs sample --output docs/results.md

Curves and pictures go to a folder beside the page that bears its name. Data sets that may not be passed on are
shown without photograph and truth, and that is the default; --photographs names the data sets that may. The same run
folders give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.inspect_records import sample_records
from configs.commands import ArgumentParser, UserError, native_stderr_to, quiet_start, run_command, say
from pipelines.files import write_atomically
from pipelines.pictures import colorize, save_png, sheet

if TYPE_CHECKING:
    from model.runs import Run

WRONG, NOT_WRONG = (200, 30, 30), (232, 232, 232)
NOTES = {
    "camvid": (
        "CamVid's validation images are of a drive that its training images show too, so that they are easier than "
        "its test images: read these figures as those of validation, not of other streets. Its images may not be "
        "passed on, so pictures show what the network drew and where that is wrong, and neither photograph nor truth."
    ),
    "sample": (
        "The sample streets are drawn by `beam_jobs.sample_data`. What is reached on them shows that all parts work "
        "together; it says nothing about real streets."
    ),
}
"""Data set → what must be said of it."""
NO_GPU = "No accelerator was available: nothing here was measured on a GPU."


class Result(NamedTuple):
    """A finished run and what its folder says of it."""

    run: Run
    report: dict[str, Any]
    """report/report.json of `model.evaluate`."""
    epochs: list[dict[str, str]]
    """metrics.csv."""
    environment: dict[str, Any]
    seconds: float

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return self.run.folder.name

    @property
    def data(self) -> str:
        """Name of the data set."""
        return self.run.manifest.name


def build_parser() -> ArgumentParser:
    """The command's flags."""
    parser = ArgumentParser(prog="python -m tests.make_results", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder that model.train and evaluate wrote")
    parser.add_argument("--output", type=Path, default=Path("docs/results.md"), metavar="MD")
    parser.add_argument("--pictures", type=int, default=3, metavar="N", help="images a run, evenly spread (default: 3)")
    parser.add_argument(
        "--photographs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets whose photographs and truth may be shown",
    )
    parser.add_argument(
        "--machine",
        default=f"{os.cpu_count()} cores of {platform.machine()}",
        metavar="WORDS",
        help="on which the runs were trained (default: this one's cores)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, read the runs, draw, and write the page."""
    options = build_parser().parse_args(argv)
    if options.pictures < 1:
        raise UserError(f"--pictures {options.pictures}: expected 1 or more")
    with quiet_start():
        results = [read_result(folder) for folder in options.runs]
    names = [result.name for result in results]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: two runs of one name would share their pictures; rename a folder")
    folder = options.output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        write_atomically(folder / f"{result.name}_curves.svg", draw_curves(result.epochs))
        with native_stderr_to(result.run.folder / "results.log"):
            pictures = draw_pictures(result, options.pictures, result.data in options.photographs)
        save_png(folder / f"{result.name}.png", pictures)
    write_atomically(options.output, page(results, options.machine, folder.name))
    say(f"{len(results)} runs in {options.output}, curves and pictures in {folder}")


def read_result(folder: Path) -> Result:
    """Read a run's folder.

    Raises:
      UserError: no run, or without the report of its best checkpoint.
    """
    from model.checkpoints import best_checkpoint
    from model.runs import open_run

    run = open_run(folder)
    evaluate = f"python -m model.evaluate --run {folder}"
    path = folder / "report" / "report.json"
    if not path.is_file():
        raise UserError(f"{folder}: has no report yet; make it with {evaluate}")
    report = json.loads(path.read_text())
    best = best_checkpoint(run.checkpoints)
    if best is None or report["step"] != best.state.step:
        raise UserError(
            f"{path}: is of step {report['step']}, not of the best checkpoint; make it again with {evaluate}"
        )
    with open(folder / "metrics.csv", newline="") as file:
        epochs = list(csv.DictReader(file))
    environment = json.loads((folder / "environment.json").read_text())
    return Result(run, report, epochs, environment, trained_seconds(folder / "tensorboard"))


def trained_seconds(events: Path) -> float:
    """Wall time in which TensorBoard's files were written: between a run's stop and its resumption there is none."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    spans = []
    for path in events.rglob("events.out.tfevents.*"):
        times = [Event.FromString(event).wall_time for event in RawEventFileLoader(str(path)).Load()]
        spans += [(min(times), max(times))] if times else []
    total = until = 0.0
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, until))
        until = max(until, last)
    return total


def draw_curves(epochs: Sequence[dict[str, str]]) -> str:
    """Loss, mIoU and learning rate against the step, as SVG."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = {
        "loss": {"training": "loss", "validation": "val_loss"},
        "mIoU": {"training": "miou", "validation": "val_miou"},
        "learning rate": {"": "learning_rate"},
    }
    figure = Figure(figsize=(12.0, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, (title, lines) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for label, key in lines.items():
            points = [(int(row["step"]), float(row[key])) for row in epochs if row[key]]
            axes.plot(*zip(*points), label=label, marker="." if len(points) < 40 else "", linewidth=1.2)
        axes.set(title=title, xlabel="step")
        axes.set_ylim(bottom=0.0, top=1.0 if title == "mIoU" else None)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    svg = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "streetmask", "svg.fonttype": "none"}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return svg.getvalue()


def draw_pictures(result: Result, count: int, photographs: bool) -> np.ndarray:
    """Evenly spread images of the scored split as a sheet, uint8 (height, width, 3).

    Each is prediction | where wrong, with ``photographs`` input | truth | prediction | where wrong.
    """
    from model.predict import make_predictor

    run, taxonomy = result.run, result.run.manifest.taxonomy
    predict = make_predictor(run, "best")
    titles, rows = ["prediction", "wrong in red"], []
    for record in sample_records(run.recipe.data.records, run.manifest, result.report["split"], count):
        image = np.asarray(Image.open(io.BytesIO(record.image)).convert("RGB"))
        mask = np.asarray(Image.open(io.BytesIO(record.mask)))
        predicted = predict(image)
        drawn = [colorize(predicted, taxonomy), where_wrong(mask, predicted)]
        rows.append([image, colorize(mask, taxonomy), *drawn] if photographs else drawn)
    return sheet(rows, ["input", "truth (black: not scored)", *titles] if photographs else titles, taxonomy)


def where_wrong(mask: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Red where a scored pixel's class is wrong; what is right and what is not scored look alike. uint8 (H, W, 3)."""
    from configs.taxonomy import IGNORE_ID

    wrong = (mask != predicted) & (mask != IGNORE_ID)
    return np.where(wrong[..., None], WRONG, NOT_WRONG).astype(np.uint8)


def page(results: Sequence[Result], machine: str, pictures: str) -> str:
    """The whole page as Markdown; ``pictures`` is the folder of the pictures beside it."""
    devices = {device for result in results for device in result.environment["devices"] if "CPU" not in device}
    accelerators = f"Trained on {', '.join(sorted(devices))}." if devices else NO_GPU
    lines = [
        "# Results",
        "",
        f"Made by `python -m tests.make_results {' '.join(f'runs/{result.name}' for result in results)}`, from the "
        "folders of the runs. mIoU is of one exact confusion matrix: the whole split, at the masks' own size, with the "
        "best checkpoint's weights loaded again. Wall time is that "
        f"of training with its evaluations. Machine: {machine}.",
        "",
        *_table(
            ["run", "data", "network", "input", "epochs", "best", "wall time", "split", "mIoU"],
            [_summary(result) for result in results],
        ),
        "",
        "## Classes",
        "",
    ]
    for names in dict.fromkeys(tuple(result.report["per_class_iou"]) for result in results):
        alike = [result for result in results if tuple(result.report["per_class_iou"]) == names]
        rows = [[name, *(_number(result.report["per_class_iou"][name]) for result in alike)] for name in names]
        mean = ["**mean**", *(f"**{_number(result.report['mean_iou'])}**" for result in alike)]
        lines += [*_table(["IoU", *(result.name for result in alike)], [*rows, mean]), ""]
    lines += ["## What to know", ""]
    known = [NOTES[data] for data in dict.fromkeys(result.data for result in results) if data in NOTES]
    lines += [f"- {note}" for note in [*known, accelerators]]
    for result in results:
        lines += ["", *_section(result, pictures)]
    return "\n".join(lines) + "\n"


def _summary(result: Result) -> list[str]:
    from pipelines.input import network_size

    recipe, report = result.run.recipe, result.report
    height, width = network_size(result.run.manifest, recipe.data.size)
    crop = "{}x{} of ".format(*recipe.augment.crop) if recipe.augment.crop else ""
    best = next((row["epoch"] for row in result.epochs if int(row["step"]) == report["step"]), "-")
    return [
        f"[{result.name}](#{result.name})",
        result.data,
        recipe.model.title,
        f"{crop}{height}x{width}",
        result.epochs[-1]["epoch"],
        best,
        f"{result.seconds / 60:.0f} min" if result.seconds >= 600 else f"{result.seconds / 60:.1f} min",
        f"{report['split']}, {report['images']} images",
        _number(report["mean_iou"]),
    ]


def _section(result: Result, pictures: str) -> list[str]:
    """A run's commands, curves and pictures."""
    trained = result.environment["command_line"].partition(" ")[2]
    run = f"runs/{result.name}"
    report = result.report
    return [
        f"## {result.name}",
        "",
        f"    {without_folders(result.run.manifest.command_line)}",
        f"    python -m model.train {without_folders(trained)}".rstrip(),
        f"    python -m model.evaluate --run {run} --split {report['split']}",
        "",
        f"Pixel accuracy {_number(report['pixel_accuracy'])}, mean class accuracy "
        f"{_number(report['mean_class_accuracy'])}, mean boundary IoU {_number(report['mean_boundary_iou'])}, "
        f"frequency-weighted IoU {_number(report['frequency_weighted_iou'])}.",
        "",
        f"![curves of {result.name}]({pictures}/{result.name}_curves.svg)",
        "",
        f"![pictures of {result.name}]({pictures}/{result.name}.png)",
    ]


def without_folders(command: str) -> str:
    """A command with all absolute paths cut down to their last part: where something lay is nobody's business."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/]+/)*(?=[^\s/])", "", command)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Score a trained run on a split of its records, with one exact confusion matrix.

    python -m model.evaluate --run runs/demo --split val

Prints IoU by class, and writes report/report.json and report/confusion_matrix.png into the run's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.commands import ArgumentParser, UserError, native_stderr_to, progress_bar, quiet_start, run_command, say

if TYPE_CHECKING:
    from model.scoring import Score

REPORT = "report"


def build_parser() -> ArgumentParser:
    """The command's flags."""
    parser = ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder that model.train wrote")
    parser.add_argument("--split", default="val", help="split of the records (default: val)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="other records with the same classes (default: the run's)"
    )
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best", help="default: best")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, score and report."""
    options = build_parser().parse_args(argv)
    with quiet_start():
        import tensorflow as tf

        from model.outputs import logits_model
        from model.recipe import build_loss
        from model.runs import load_network, open_run
        from model.scoring import Scorer
        from pipelines.input import open_records

        tf.config.list_logical_devices()
    run = open_run(options.run)
    records = open_records(options.data or run.recipe.data.records)
    if records.manifest.taxonomy.class_names != run.manifest.taxonomy.class_names:
        raise UserError(f"{records.folder}: has other classes than the run was trained on")
    images = records.count(options.split)
    if not images:
        raise UserError(f"--split {options.split}: has no records")
    with native_stderr_to(run.folder / "evaluate.log"):
        model, checkpoint = load_network(run, options.checkpoint)
        loss = build_loss(run.recipe.train, run.manifest)
        scorer = Scorer(tf.distribute.get_strategy(), logits_model(model), loss, run.recipe, records, options.split)
        batch_size = run.recipe.train.batch_size
        bar = progress_bar(images, "image", f"scoring {options.split}")
        score = scorer(lambda: bar.update(min(batch_size, images - int(bar.n))))
        bar.close()
    folder = run.folder / REPORT
    report = make_report(score, run.manifest.taxonomy.class_names, options.split, images, checkpoint.state.step)
    write_report(folder, report, score.confusion)
    print_report(report)
    say(f"written to {folder / 'report.json'} and {folder / 'confusion_matrix.png'}")


def make_report(score: Score, class_names: Sequence[str], split: str, images: int, step: int) -> dict[str, Any]:
    """The content of ``report.json``; the IoU of a class that is neither there nor predicted is null."""
    from model.metrics import class_iou, pixel_accuracy

    values = class_iou(score.confusion)
    return {
        "split": split,
        "images": images,
        "step": step,
        "mean_iou": score.miou,
        "pixel_accuracy": pixel_accuracy(score.confusion),
        "loss": score.loss,
        "per_class_iou": {
            name: float(value) if np.isfinite(value) else None for name, value in zip(class_names, values, strict=True)
        },
        "pixels": {name: int(count) for name, count in zip(class_names, score.confusion.sum(axis=1), strict=True)},
        "confusion_matrix": score.confusion.tolist(),
    }


def print_report(report: dict[str, Any]) -> None:
    """The table of IoU by class."""
    say(f"{'class':<22}{'IoU':>8}{'% of pixels':>14}")
    whole = max(sum(report["pixels"].values()), 1)
    for name, value in report["per_class_iou"].items():
        shown = "-" if value is None else f"{value:.4f}"
        say(f"{name:<22}{shown:>8}{100 * report['pixels'][name] / whole:>14.2f}")
    say(f"{'mean IoU':<22}{report['mean_iou']:>8.4f}")
    say(f"{'pixel accuracy':<22}{report['pixel_accuracy']:>8.4f}")
    say(f"{report['images']} images of split {report['split']}, checkpoint of step {report['step']}")


def write_report(folder: Path, report: dict[str, Any], confusion: np.ndarray) -> None:
    """Write ``report.json`` and ``confusion_matrix.png``."""
    from pipelines.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report)
    draw_confusion(folder / "confusion_matrix.png", confusion, list(report["per_class_iou"]), report["mean_iou"])


def draw_confusion(path: Path, confusion: np.ndarray, class_names: Sequence[str], miou: float) -> None:
    """The confusion matrix as a picture: each row is a true class, its cells are shares of that row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = max(5.0, 0.55 * len(class_names) + 2.0)
    figure = Figure(figsize=(side + 0.6, side), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(f"share of each true class, mean IoU {miou:.3f}")
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.5 else "black",
        )
    figure.colorbar(picture, ax=axes, shrink=0.8)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Score a trained run on a split of its records, with one exact confusion matrix.

    python -m model.evaluate --run runs/demo --split val

Prints IoU by class and at the taxonomy's coarser levels, and writes report/report.json and
report/confusion_matrix.png into the run's folder. All but the loss and ``iou_score`` is read off integer counts
over the whole split. ``iou_score`` is segmentation_models', of the split as one batch: of the network's
probabilities, and no mIoU. It computes in float32; a run that trains in bfloat16 or float16 also validates in it,
so that its own figures may differ a little.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.commands import ArgumentParser, UserError, native_stderr_to, progress_bar, quiet_start, run_command, say
from configs.taxonomy import FOLDER, Taxonomy, load_taxonomy

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

        from model.boundary import BoundaryIoU
        from model.outputs import logits_model
        from model.recipe import build_loss
        from model.runs import load_network, open_run
        from model.scoring import Scorer
        from pipelines.dataset import open_records

        tf.config.list_logical_devices()
    run = open_run(options.run)
    records = open_records(options.data or run.recipe.data.records, run.recipe.data.verify)
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
        boundary = BoundaryIoU(len(records.manifest.taxonomy.classes))
        score = scorer(lambda: bar.update(min(batch_size, images - int(bar.n))), boundary)
        bar.close()
    folder = run.folder / REPORT
    of_what = {"split": options.split, "images": images, "step": checkpoint.state.step}
    report = of_what | make_report(score, boundary.result(), run.manifest.taxonomy)
    write_report(folder, report, score.confusion)
    print_report(report)
    say(f"written to {folder / 'report.json'} and {folder / 'confusion_matrix.png'}")


def make_report(score: Score, boundary_iou: np.ndarray, taxonomy: Taxonomy) -> dict[str, Any]:
    """What ``report.json`` says of a split; a class's value is null where it is neither there nor predicted."""
    from model import metrics

    counts, names = score.confusion, taxonomy.class_names
    dice, accuracy = metrics.class_dice(counts), metrics.class_accuracy(counts)
    return {
        "mean_iou": score.miou,
        "frequency_weighted_iou": metrics.frequency_weighted_iou(counts),
        "mean_dice": metrics.class_mean(dice),
        "mean_boundary_iou": metrics.class_mean(boundary_iou),
        "pixel_accuracy": metrics.pixel_accuracy(counts),
        "mean_class_accuracy": metrics.class_mean(accuracy),
        "loss": score.loss,
        "iou_score": score.iou_score,
        "per_class_iou": _by_name(names, metrics.class_iou(counts)),
        "per_class_dice": _by_name(names, dice),
        "per_class_boundary_iou": _by_name(names, boundary_iou),
        "per_class_accuracy": _by_name(names, accuracy),
        "pixels": dict(zip(names, counts.sum(axis=1).tolist(), strict=True)),
        "coarser": {
            level: {
                "mean_iou": metrics.mean_iou(coarse),
                "pixel_accuracy": metrics.pixel_accuracy(coarse),
                "per_class_iou": _by_name(coarse_names, metrics.class_iou(coarse)),
            }
            for level, coarse_names, coarse in coarser_levels(counts, taxonomy)
        },
        "confusion_matrix": counts.tolist(),
    }


def coarser_levels(counts: np.ndarray, taxonomy: Taxonomy) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """The taxonomy's coarser levels, the next one first: name, class names, and the same counts at that level.

    A level that is a file of the user's is known by the names of the parents only, so that it is the last one.
    """
    from model.metrics import coarser_confusion

    while all(entry.parent for entry in taxonomy.classes):
        parents = [str(entry.parent) for entry in taxonomy.classes]
        ours = taxonomy.coarser is not None and (FOLDER / f"{taxonomy.coarser}.yaml").is_file()
        coarser = load_taxonomy(str(taxonomy.coarser)) if ours else None
        names = coarser.class_names if coarser else list(dict.fromkeys(parents))
        counts = coarser_confusion(counts, [names.index(parent) for parent in parents], len(names))
        yield taxonomy.coarser or "parents", names, counts
        if coarser is None:
            return
        taxonomy = coarser


def print_report(report: dict[str, Any]) -> None:
    """The table of IoU by class, and the means below it."""
    say(f"{'class':<26}{'IoU':>8}{'boundary':>10}{'Dice':>8}{'accuracy':>10}{'% of pixels':>13}")
    whole = max(sum(report["pixels"].values()), 1)
    columns = ("per_class_iou", "per_class_boundary_iou", "per_class_dice", "per_class_accuracy")
    for name, pixels in report["pixels"].items():
        iou, boundary, dice, accuracy = ("-" if (v := report[key][name]) is None else f"{v:.4f}" for key in columns)
        say(f"{name:<26}{iou:>8}{boundary:>10}{dice:>8}{accuracy:>10}{100 * pixels / whole:>13.2f}")
    means = [report[f"mean_{kind}"] for kind in ("iou", "boundary_iou", "dice", "class_accuracy")]
    say("{:<26}{:>8.4f}{:>10.4f}{:>8.4f}{:>10.4f}".format("mean", *means))
    say(f"{'mean IoU':<26}{report['mean_iou']:>8.4f}")
    for level, coarse in report["coarser"].items():
        say(f"{'mean IoU, ' + level:<26}{coarse['mean_iou']:>8.4f}")
    for key in ("frequency_weighted_iou", "pixel_accuracy", "iou_score"):
        name = key if key == "iou_score" else key.replace("_", " ").replace("iou", "IoU")
        say(f"{name:<26}{report[key]:>8.4f}")
    say(f"{report['images']} images of split {report['split']}, checkpoint of step {report['step']}")


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in zip(names, values, strict=True)}


def write_report(folder: Path, report: dict[str, Any], confusion: np.ndarray) -> None:
    """Write ``report.json`` and ``confusion_matrix.png``."""
    from model.confusion_picture import draw_confusion
    from pipelines.files import write_json
    from pipelines.pictures import save_png

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", report)
    save_png(folder / "confusion_matrix.png", draw_confusion(confusion, list(report["per_class_iou"])))


if __name__ == "__main__":
    sys.exit(run_command(main))

"""A confusion matrix as a picture, the same for the report of a run and for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.metrics import mean_iou


def draw_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Each row is a true class, its cells are shares of that row in percent; shares below half a percent stay empty.

    Args:
      confusion: int64 (classes, classes), rows are the truth.

    Returns:
      uint8 (height, width, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    percent = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = max(5.0, 0.55 * len(class_names) + 2.0)
    figure = Figure(figsize=(side + 0.6, side), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(percent, cmap="Blues", vmin=0.0, vmax=100.0)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(f"% of each true class, mean IoU {mean_iou(confusion):.3f}")
    for row, column in np.argwhere(percent >= 0.5):
        share = percent[row, column]
        axes.text(
            column,
            row,
            f"{share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 50.0 else "black",
        )
    figure.colorbar(picture, ax=axes, shrink=0.8)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]

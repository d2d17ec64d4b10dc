"""Predict class masks for images with a trained run.

    python -m model.predict --run runs/demo --input DIR_OR_IMAGE --output DIR

Writes, for each image and at its own size, below the output folder: ids/NAME.png (class ids, 8 bits),
color/NAME.png (the taxonomy's colours) and overlay/NAME.png (colours over the image).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from configs.commands import (
    ArgumentParser,
    RunError,
    UserError,
    native_stderr_to,
    progress_bar,
    quiet_start,
    run_command,
    say,
)

if TYPE_CHECKING:
    from model.runs import Run

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def build_parser() -> ArgumentParser:
    """The command's flags."""
    parser = ArgumentParser(prog="python -m model.predict", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder that model.train wrote")
    parser.add_argument("--input", type=Path, required=True, metavar="PATH", help="an image, or a folder of images")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the masks")
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best", help="default: best")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and predict."""
    options = build_parser().parse_args(argv)
    images = list_images(options.input)
    with quiet_start():
        from model.runs import open_run
        from pipelines.pictures import colorize, overlay, save_png

        run = open_run(options.run)
    with native_stderr_to(run.folder / "predict.log"):
        predict = make_predictor(run, options.checkpoint)
        bar = progress_bar(len(images), "image", "predicting")
        bad: list[str] = []
        for path, name in images:
            bar.update()
            try:
                with Image.open(path) as opened:
                    image = np.asarray(opened.convert("RGB"))
            except Exception as error:  # Pillow's plugins raise many kinds on damaged files
                bad.append(f"{path}: cannot be read ({error})")
                continue
            mask = predict(image)
            target = Path(name).with_suffix(".png")
            save_png(options.output / "ids" / target, mask)
            save_png(options.output / "color" / target, colorize(mask, run.manifest.taxonomy))
            save_png(options.output / "overlay" / target, overlay(image, mask, run.manifest.taxonomy))
        bar.close()
    say(f"{len(images) - len(bad)} images: masks, colours and overlays in {options.output}")
    if bad:
        raise RunError(f"{len(bad)} of {len(images)} images were left out, first: {bad[0]}")


def list_images(path: Path) -> list[tuple[Path, str]]:
    """Images and their names below ``path``: the one file, or all images of a folder in sorted order.

    Raises:
      UserError: no such path, no image there, or two images that would give one mask.
    """
    if path.is_file():
        return [(path, path.name)]
    if not path.is_dir():
        raise UserError(f"--input {path}: no such file or folder")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise UserError(f"--input {path}: no images there ({', '.join(SUFFIXES)})")
    names = [file.relative_to(path) for file in found]
    stems: dict[Path, Path] = {}
    for name in names:
        if stems.setdefault(name.with_suffix(""), name) != name:
            raise UserError(f"--input {path}: {stems[name.with_suffix('')]} and {name} would give one mask")
    return [(file, str(name)) for file, name in zip(found, names, strict=True)]


def make_predictor(run: Run, checkpoint: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from an image uint8 (H, W, 3), RGB, to its class ids uint8 (H, W)."""
    import tensorflow as tf

    from model.outputs import logits_model
    from model.recipe import network_stride
    from model.runs import load_network
    from model.steps import at_own_size
    from pipelines.fitting import fit
    from pipelines.input import make_fitting

    network = logits_model(load_network(run, checkpoint)[0])
    fitting = make_fitting(run.manifest, run.recipe.data, network_stride(run.recipe.model))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], jit_compile=False)
    def predict(image: tf.Tensor) -> tf.Tensor:
        nothing = tf.zeros(tf.shape(image)[:2], tf.uint8)
        fitted, _ = fit(image, nothing, fitting)
        return tf.cast(tf.argmax(at_own_size(network, fitted[None], fitting, nothing[None])[0], axis=-1), tf.uint8)

    return lambda image: predict(image).numpy()


if __name__ == "__main__":
    sys.exit(run_command(main))

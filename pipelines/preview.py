"""Show what a recipe's augmentation does: samples before and after, masks over them, what was drawn beneath.

    python -m pipelines.preview --data data/records --config configs/camvid_unet.yaml --output preview.png
    python -m pipelines.preview --set augment.recipe=strong --samples 6 --output strong.png

The same step of the same seed always gives the same sheet. Pixels that are not scored (255) show the image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from configs.commands import ArgumentParser, UserError, add_config_flags, quiet_start, run_command, say
from pipelines.pictures import below, beside, captions, legend, overlay, save_png, text_block

if TYPE_CHECKING:
    from configs.taxonomy import Taxonomy
    from pipelines.augment import AugmentOptions

TITLES = ("before", "before, mask over it", "after", "after, mask over it")
_MIN_WIDTH, _MAX_WIDTH = 240, 480  # of one picture on the sheet


def build_parser() -> ArgumentParser:
    """The flags of this command."""
    parser = ArgumentParser(prog="python -m pipelines.preview", description=__doc__)
    add_config_flags(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of records (default: the recipe's)")
    parser.add_argument("--output", type=Path, default=Path("preview.png"), metavar="PNG", help="default: preview.png")
    parser.add_argument("--samples", type=int, default=6, metavar="N", help="images on the sheet (default: 6)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="as train.seed (default: 1)")
    parser.add_argument("--step", type=int, default=0, metavar="N", help="the training step to show (default: 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw the sheet and write it."""
    options = build_parser().parse_args(argv)
    if options.samples < 1:
        raise UserError(f"--samples {options.samples}: expected 1 or more")
    with quiet_start():
        from configs.loading import Config, load_config
        from pipelines.augment import AugmentOptions
        from pipelines.dataset import open_records
        from pipelines.input import DataOptions, training_batches

        class Recipe(Config):
            """The sections of a training recipe that decide what is shown; the others are accepted as they are."""

            name: str = "preview"
            data: DataOptions = DataOptions()
            augment: AugmentOptions = AugmentOptions()
            model: dict[str, Any] = Field(default_factory=dict)
            train: dict[str, Any] = Field(default_factory=dict)

    recipe = load_config(Recipe, options.config, options.overrides, {"data.records": options.data})
    records = open_records(recipe.data.records, recipe.data.verify)
    if not records.count(recipe.data.train_split):
        raise UserError(f"{recipe.data.records}: split '{recipe.data.train_split}' has no records")
    with quiet_start():
        how = {"batch_size": options.samples, "stride": 1, "seed": options.seed}
        images, masks = next(iter(training_batches(records, recipe.data, lambda: (0, 0), **how)))
        sheet = preview_sheet(images, masks, recipe.augment, records.manifest.taxonomy, options.seed, options.step)
    save_png(options.output, sheet)
    say(f"{options.output}: {len(images)} images, augmentation '{recipe.augment.recipe}', step {options.step}")


def preview_sheet(
    images: Any, masks: Any, options: AugmentOptions, taxonomy: Taxonomy, seed: int, step: int
) -> np.ndarray:
    """A sheet of a batch before and after augmentation on the first replica.

    Args:
      images: uint8 (B, H, W, 3).
      masks: uint8 (B, H, W).

    Returns:
      uint8 (height, width, 3).
    """
    import tensorflow as tf

    from pipelines.augment import Augmentation, describe
    from pipelines.random_key import RandomKey

    augmentation = Augmentation(options)
    images, masks = tf.convert_to_tensor(images), tf.convert_to_tensor(masks)
    draws = augmentation.draw(len(masks), tuple(masks.shape[1:]), RandomKey(seed, step, 0))
    after, after_masks = augmentation.apply(images, masks, draws)
    blocks = []
    for index in range(len(masks)):
        before = images[index].numpy(), masks[index].numpy()
        changed = np.rint(after[index].numpy()).astype(np.uint8), after_masks[index].numpy()
        row = [picture for pair in (before, changed) for picture in (pair[0], overlay(*pair, taxonomy))]
        pictures = _of_one_size(row)
        drawn = text_block(describe(draws, options, index), len(TITLES) * (pictures[0].shape[1] + 4) - 4)
        blocks += [beside(pictures), drawn]
    return below([captions(TITLES, pictures[0].shape[1]), *blocks, legend(taxonomy, blocks[0].shape[1])])


def _of_one_size(row: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pictures scaled by one factor to a width fit for the sheet, on one canvas: a crop stays smaller."""
    from PIL import Image

    width = max(picture.shape[1] for picture in row)
    factor = min(max(width, _MIN_WIDTH), _MAX_WIDTH) / width
    scaled = [
        np.asarray(Image.fromarray(p).resize((round(p.shape[1] * factor), round(p.shape[0] * factor)))) for p in row
    ]
    height, width = (max(picture.shape[axis] for picture in scaled) for axis in (0, 1))
    canvas = np.full((len(row), height, width, 3), 250, np.uint8)
    for place, picture in zip(canvas, scaled, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    return list(canvas)


if __name__ == "__main__":
    sys.exit(run_command(main))

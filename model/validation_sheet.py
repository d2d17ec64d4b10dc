"""The same few validation images at each evaluation, so that one sees what a network learns and where it errs.

A row of the sheet is one image: input, truth, prediction, and where the prediction is wrong.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from configs.taxonomy import IGNORE_ID
from model.recipe import Recipe, network_stride
from model.steps import at_own_size
from pipelines.dataset import Records
from pipelines.fitting import fit
from pipelines.input import make_fitting
from pipelines.pictures import below, beside, captions, colorize, legend, mistakes, text_block
from pipelines.records import IMAGE, MASK, decode_example, deserialize

TITLES = ("input", "truth; black: not scored", "prediction", "red: wrong; black: not scored")
MIN_WIDTH, MAX_WIDTH = 240, 480  # of one picture: a caption fits, four fit on a screen


class ValidationSheet:
    """Draws the sheet with the network as it is."""

    def __init__(self, recipe: Recipe, records: Records, network: keras.Model) -> None:
        """``network`` gives logits; the images are decoded once and kept."""
        self._taxonomy, self._network = records.manifest.taxonomy, network
        self._fitting = make_fitting(records.manifest, recipe.data, network_stride(recipe.model))
        reader = records.reader(recipe.data.val_split)
        stored = [deserialize(reader.read(number)) for number in spread(len(reader), recipe.train.pictures)]
        self._keys = [record.key for record in stored]
        self._examples = [decode_example({IMAGE: record.image, MASK: record.mask}) for record in stored]
        self._width = min(max(MIN_WIDTH, *(record.width for record in stored)), MAX_WIDTH)

    def draw(self) -> np.ndarray:
        """uint8 (height, width, 3)."""
        blocks = [captions(TITLES, self._width)]
        for key, (image, mask) in zip(self._keys, self._examples, strict=True):
            truth, predicted = mask.numpy(), self._predict(image, mask)
            scored = truth != IGNORE_ID
            right = np.sum((predicted == truth) & scored) / max(scored.sum(), 1)
            blocks.append(beside(self._row(image.numpy(), truth, predicted)))
            blocks.append(text_block(f"{key}: {100 * right:.1f} % of its scored pixels are right", blocks[0].shape[1]))
        return below([*blocks, legend(self._taxonomy, blocks[0].shape[1])])

    def _predict(self, image: tf.Tensor, mask: tf.Tensor) -> np.ndarray:
        """Class ids, uint8 (H, W), as scoring predicts them."""
        fitted = fit(image, mask, self._fitting)[0]
        logits = at_own_size(self._network, fitted[None], self._fitting, mask[None])
        return tf.argmax(logits, axis=-1)[0].numpy().astype(np.uint8)

    def _row(self, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> list[np.ndarray]:
        image = to_width(image, self._width, Image.Resampling.BILINEAR)
        truth, predicted = (to_width(mask, self._width, Image.Resampling.NEAREST) for mask in (truth, predicted))
        colored = [colorize(mask, self._taxonomy) for mask in (truth, predicted)]
        return [image, *colored, mistakes(image, truth, predicted)]


def spread(count: int, wanted: int) -> list[int]:
    """Numbers of ``wanted`` of ``count`` records, each from the middle of an equal part; all where there are fewer."""
    chosen = min(count, wanted)
    return [(2 * part + 1) * count // (2 * chosen) for part in range(chosen)]


def to_width(picture: np.ndarray, width: int, resampling: Image.Resampling) -> np.ndarray:
    """A picture (H, W, 3) or mask (H, W), uint8, scaled to a width with its aspect ratio kept."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(Image.fromarray(picture).resize((width, height), resampling))

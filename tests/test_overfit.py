"""UNET learns four real images by heart, from scratch: a fault of network, loss or step would show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES, VOID, HEIGHT, WIDTH = 11, 11, 96, 128
STEPS, ROUND = 500, 25
FIRST = 65
"""The place in each quarter of the split at which the rarest class has the most pixels."""


def four_images(camvid: Path) -> tuple[np.ndarray, np.ndarray]:
    """Four images and masks of the training split, far apart, in which no class is rare, at a small size."""
    paths = sorted((camvid / "masks" / "train").glob("*.png"))
    images, masks = [], []
    for path in paths[FIRST :: -(-len(paths) // 4)]:
        (image,) = (camvid / "leftImg8bit" / "train").rglob(f"{path.stem}*")
        images.append(np.asarray(Image.open(image).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BOX)))
        masks.append(np.asarray(Image.open(path).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)))
    stacked = np.stack(masks)
    return np.stack(images).astype(np.float32), np.where(stacked == VOID, 255, stacked).astype(np.uint8)


@pytest.mark.slow
def test_unet_learns_four_images_by_heart(tensorflow_ready, camvid):
    import keras

    from model import Unet
    from model.gradients import Objective, loss_and_gradients
    from model.losses import cce_dice_loss
    from model.metrics import confusion, mean_iou
    from model.optimizer import build_optimizer
    from model.outputs import logits_model
    from model.recipe import TrainOptions

    tf = tensorflow_ready
    images, masks = four_images(camvid)
    assert images.shape == (4, HEIGHT, WIDTH, 3)
    assert np.bincount(masks.ravel())[:CLASSES].min() > 300
    keras.utils.set_random_seed(1)
    network = logits_model(Unet("resnet18", classes=CLASSES, encoder_weights=None, bn_momentum=0.9))
    options = TrainOptions(warmup_steps=20, learning_rate=2e-3, schedule="constant")
    optimizer = build_optimizer(options, STEPS, network)

    @tf.function(jit_compile=False)
    def train_once():
        value, gradients, _ = loss_and_gradients(Objective(network, cce_dice_loss, "softmax"), images, masks)
        optimizer.apply(gradients, network.trainable_variables)
        return value

    score = tf.function(lambda: confusion(masks, network(images, training=False), CLASSES), jit_compile=False)
    reached = []
    while len(reached) * ROUND < STEPS and not (reached and reached[-1] >= 0.98):
        for _ in range(ROUND):
            train_once()
        reached.append(mean_iou(score().numpy()))
    assert reached[-1] >= 0.98, f"mIoU every {ROUND} steps: {np.round(reached, 3)}"

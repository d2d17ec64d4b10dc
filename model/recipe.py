"""A training recipe: sections ``data``, ``augment``, ``model`` and ``train`` of one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
from pydantic import Field, field_validator

from configs.commands import did_you_mean
from configs.loading import Config
from model.downloads import encoder_weights_path
from model.losses import LOSS_NAMES, Loss, WeightedSum, make_loss
from model.optimizer import AdamW
from model.resnet import STRIDE
from model.unet import DECODER_FILTERS, Unet
from pipelines.augment import AugmentOptions
from pipelines.input import DataOptions
from pipelines.manifest import Manifest

DEFAULT_RECIPE = Path(__file__).parent.parent / "configs" / "demo.yaml"
# Biases and the scales and offsets of normalisation are few and free: decaying them only slows training.
NOT_DECAYED = ("bias", "gamma", "beta")


class ModelOptions(Config):
    """Section ``model``: which network."""

    name: Literal["unet"] = "unet"
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet34"
    activation: Literal["softmax", "sigmoid"] = "softmax"
    decoder_filters: tuple[int, int, int, int, int] = DECODER_FILTERS
    decoder_block_type: Literal["upsampling", "transpose"] = "upsampling"
    encoder_weights: Literal["imagenet"] | Path | None = None
    """``imagenet`` is downloaded once; a path is a weight file in Keras 2's layout (.h5)."""
    encoder_freeze: bool = False
    """Train nothing of the encoder but its normalisation."""
    normalization: Literal["batch", "group"] = "batch"
    """``group`` for batches of one or two images; ImageNet weights do not fit it."""
    bn_momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """The library's 0.99 needs some 500 steps before validation means anything; 0.9 suits small data."""


class LossTerm(Config):
    """One term of the loss, times its weight."""

    name: str
    weight: float = Field(default=1.0, gt=0.0)

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LOSS_NAMES:
            raise ValueError(f"no such loss{did_you_mean(value, LOSS_NAMES) or ';'} there are {', '.join(LOSS_NAMES)}")
        return value


class TrainOptions(Config):
    """Section ``train``: for how long, and how."""

    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=8, ge=1)
    """Of all replicas together."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=1e-4, ge=0.0)
    warmup_steps: int = Field(default=100, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: down to 0 at the last step, or level."""
    loss: tuple[LossTerm, ...] = (LossTerm(name="cce_dice_loss"),)
    class_weights: Literal["none", "median_frequency"] = "none"
    """Weights of the cross-entropy, from the manifest."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations; each one writes a checkpoint. The last epoch always has one."""
    keep_checkpoints: int = Field(default=2, ge=1)
    pictures: int = Field(default=4, ge=0)
    """Validation images shown in TensorBoard at each evaluation."""


class Recipe(Config):
    """All that decides a training run."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Of the run's folder below ``runs/``."""
    data: DataOptions = DataOptions()
    augment: AugmentOptions = AugmentOptions()
    model: ModelOptions = ModelOptions()
    train: TrainOptions = TrainOptions()


def build_network(options: ModelOptions, classes: int, synchronized: bool = False) -> keras.Model:
    """The network of a recipe, (B, H, W, 3) RGB 0..255 → (B, H, W, classes) probabilities."""
    return Unet(
        options.backbone,
        classes=classes,
        activation=options.activation,
        encoder_weights=options.encoder_weights,
        encoder_freeze=options.encoder_freeze,
        decoder_block_type=options.decoder_block_type,
        decoder_filters=options.decoder_filters,
        normalization=options.normalization,
        bn_momentum=options.bn_momentum,
        bn_synchronized=synchronized,
    )


def fetch_encoder_weights(options: ModelOptions) -> None:
    """Bring the encoder's weights here, so that what is wrong with them shows before a run is made.

    Raises:
      UserError: as `encoder_weights_path`.
    """
    encoder_weights_path(options.backbone, options.encoder_weights)


def network_stride(options: ModelOptions) -> int:
    """The number of which image sizes must be multiples."""
    return STRIDE


def build_loss(options: TrainOptions, manifest: Manifest) -> Loss:
    """The sum of the recipe's loss terms."""
    weights = manifest.class_weights if options.class_weights == "median_frequency" else None
    return WeightedSum([(term.weight, make_loss(term.name, weights)) for term in options.loss])


def build_optimizer(options: TrainOptions, steps: int) -> keras.optimizers.Optimizer:
    """AdamW whose learning rate is warmed up and then follows the schedule over ``steps`` steps in all."""
    optimizer = AdamW(learning_rate_schedule(options, steps), weight_decay=options.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def learning_rate_schedule(options: TrainOptions, steps: int) -> Any:
    """Linear warm-up to the learning rate, then a cosine to 0, or level."""
    rate, warmup = options.learning_rate, min(options.warmup_steps, max(steps - 1, 0))
    cosine = options.schedule == "cosine"
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else rate,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=max(steps - warmup, 1),
        alpha=0.0 if cosine else 1.0,
    )

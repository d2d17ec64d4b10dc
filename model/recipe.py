"""A training recipe: sections ``data``, ``augment``, ``model`` and ``train`` of one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
from pydantic import Field, model_validator

from configs.commands import UserError
from configs.loading import Config
from model import dilated, resnet
from model.canet import COMPACT, CANet
from model.downloads import Source, encoder_weights_path
from model.losses import CceDiceTerm, ClassWeights, LossTerm, OnOutputs, WeightedSum
from model.precision import Precision, computing_in
from model.schedules import Curve
from model.scored import Loss
from model.unet import DECODER_FILTERS, Unet
from pipelines.augment import AugmentOptions
from pipelines.input import DataOptions
from pipelines.manifest import Manifest

DEFAULT_RECIPE = Path(__file__).parent.parent / "configs" / "demo.yaml"
INPUT_NORMALIZATION = "bn_data"
ENCODER_ENDS = ("relu1", "conv5_block3_out")
"""The last layers of both kinds of ResNet."""


class ModelOptions(Config):
    """Section ``model``: which network."""

    name: Literal["unet", "canet", "canet_compact"] = "unet"
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
    auxiliary_weight: float = Field(default=0.4, ge=0.0)
    """Of the loss on canet's auxiliary head, which is there in training only; 0 leaves it out."""

    @property
    def title(self) -> str:
        """The network in a few words."""
        return self.name if self.name == "canet_compact" else f"{self.name} {self.backbone}"

    @property
    def auxiliary(self) -> bool:
        """Whether the network has an auxiliary head."""
        return self.name == "canet" and self.auxiliary_weight > 0

    @model_validator(mode="after")
    def _only_what_the_network_has(self) -> ModelOptions:
        if self.name == "canet" and self.backbone not in dilated.BACKBONES:
            raise ValueError(f"backbone: canet has {', '.join(dilated.BACKBONES)}, not {self.backbone}")
        for key in _FOREIGN[self.name]:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: {self.name} has none, leave it out")
        return self


_FOREIGN = {
    "unet": ("auxiliary_weight",),
    "canet": ("decoder_filters", "decoder_block_type"),
    "canet_compact": (
        *("backbone", "encoder_weights", "encoder_freeze"),
        *("decoder_filters", "decoder_block_type", "auxiliary_weight"),
    ),
}
"""Keys that say nothing about a network."""


class TrainOptions(Config):
    """Section ``train``: for how long, and how."""

    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=8, ge=1)
    """Of all replicas together."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """After the warm-up."""
    encoder_learning_rate_factor: float = Field(default=1.0, gt=0.0)
    """Times the learning rate is the encoder's: below 1 where it has been trained before."""
    weight_decay: float = Field(default=1e-4, ge=0.0)
    """Of convolutions' kernels; of AdamW beside the gradient, of SGD a part of it (model/optimizer.py)."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Of SGD."""
    clip_norm: float | None = Field(default=None, gt=0.0)
    """The largest norm of the whole batch's gradient."""
    accumulate: int = Field(default=1, ge=1)
    """Pieces in which a replica takes its share of a batch, one after the other, when memory is short."""
    ema: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Momentum of a moving average of the weights, which is then what is evaluated and exported; 0.999, say."""
    warmup_steps: int = Field(default=100, ge=0)
    precision: Precision = "float32"
    """Of the convolutions while training; ``auto`` takes what pays on this machine (model/precision.py)."""
    schedule: Curve = "cosine"
    """After the warm-up: ``cosine`` or ``poly`` down to 0 at the last step, or ``constant``."""
    loss: tuple[LossTerm, ...] = (CceDiceTerm(name="cce_dice_loss"),)
    class_weights: ClassWeights = "none"
    """Weights of the losses that are means over pixels, from the manifest; a term's own go first."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    evaluate_every: int = Field(default=1, ge=1)
    """Epochs between evaluations. The last epoch always has one."""
    patience: int | None = Field(default=None, ge=1)
    """Stop early after so many evaluations without a better mIoU."""
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

    @model_validator(mode="after")
    def _encoder_is_there(self) -> Recipe:
        if self.train.encoder_learning_rate_factor != 1.0 and self.model.name == "canet_compact":
            raise ValueError("train.encoder_learning_rate_factor: canet_compact is one piece, leave it out")
        return self

    @model_validator(mode="after")
    def _crop_meets_the_network(self) -> Recipe:
        stride, crop = network_stride(self.model), self.augment.crop
        if crop and any(side % stride for side in crop):
            raise ValueError(f"augment.crop: {list(crop)} are no multiples of {stride}, the network's stride")
        return self


def settle_precision(recipe: Recipe, precision: Precision) -> Recipe:
    """The recipe with this precision in place of ``auto``, whose meaning is the machine's."""
    if recipe.train.precision != "auto":
        return recipe
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})


def build_network(
    options: ModelOptions, classes: int, synchronized: bool = False, precision: Precision = "float32"
) -> keras.Model:
    """The network of a recipe, (B, H, W, 3) RGB 0..255 → (B, H, W, classes) probabilities."""
    with computing_in(precision):
        network = _build_network(options, classes, synchronized)
    for layer in network.layers:
        if layer.name == INPUT_NORMALIZATION:
            # Three numbers that the next normalisation makes up for, and whose gradient is that of the whole image
            # through the largest convolution.
            layer.beta.trainable = False
    return network


def _build_network(options: ModelOptions, classes: int, synchronized: bool) -> keras.Model:
    shared: dict[str, Any] = {
        "classes": classes,
        "activation": options.activation,
        "encoder_weights": options.encoder_weights,
        "encoder_freeze": options.encoder_freeze,
        "normalization": options.normalization,
        "bn_momentum": options.bn_momentum,
        "bn_synchronized": synchronized,
    }
    if options.name == "unet":
        return Unet(
            options.backbone,
            decoder_block_type=options.decoder_block_type,
            decoder_filters=options.decoder_filters,
            **shared,
        )
    backbone = COMPACT if options.name == "canet_compact" else options.backbone
    return CANet(backbone, auxiliary=options.auxiliary, **shared)


def encoder_variables(network: keras.Model) -> list[keras.Variable]:
    """What a network has trainable below the end of its ResNet."""
    end = next(layer for layer in network.layers if layer.name in ENCODER_ENDS)
    return keras.Model(network.input, end.output).trainable_variables


def fetch_encoder_weights(options: ModelOptions) -> None:
    """Bring the encoder's weights here, so that what is wrong with them shows before a run is made.

    Raises:
      UserError: as `encoder_weights_path`.
    """
    source: Source = dilated.weights_source(options.backbone) if options.name == "canet" else "image_classifiers"
    encoder_weights_path(options.backbone, options.encoder_weights, source)


def network_stride(options: ModelOptions) -> int:
    """The number of which image sizes must be multiples."""
    return resnet.STRIDE if options.name == "unet" else dilated.STRIDE


def build_loss(options: TrainOptions, manifest: Manifest) -> Loss:
    """The sum of the recipe's loss terms, on one output of a network.

    Raises:
      UserError: a term has not one weight for each class.
    """
    return WeightedSum([(term.weight, term.build(_class_weights(term, options, manifest))) for term in options.loss])


def _class_weights(term: LossTerm, options: TrainOptions, manifest: Manifest) -> tuple[float, ...] | None:
    chosen = term.class_weights or (options.class_weights if term.over_pixels() else "none")
    if chosen == "none":
        return None
    if isinstance(chosen, str):
        power = 0.5 if chosen == "sqrt_median_frequency" else 1.0
        return tuple(weight**power for weight in manifest.class_weights)
    classes = len(manifest.taxonomy.classes)
    if len(chosen) != classes:
        raise UserError(f"train.loss: {term.name} has {len(chosen)} class_weights, the records have {classes} classes")
    return chosen


def training_loss(options: ModelOptions, loss: Loss) -> Loss | OnOutputs:
    """The loss on all that a network gives in training: its main output and, if it has one, its auxiliary one."""
    return OnOutputs(loss, (1.0, options.auxiliary_weight)) if options.auxiliary else loss

"""All that learns and is saved: a network, its optimizer and, if the recipe wants them, average and loss scale."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.averaging import WeightAverage
from model.checkpoints import AVERAGE, WEIGHTS, Checkpoint
from model.gradients import Objective
from model.loss_scale import LossScale
from model.metrics import ConfusionMatrix
from model.optimizer import build_optimizer
from model.outputs import logits_model, training_model
from model.recipe import Recipe, build_loss, build_network, training_loss
from model.steps import Trained, make_training_step
from pipelines.augment import AugmentOptions
from pipelines.manifest import Manifest


class Learner:
    """A recipe's network in training, on every replica of a strategy."""

    def __init__(
        self, recipe: Recipe, manifest: Manifest, strategy: tf.distribute.Strategy, steps: int, goes_on: bool
    ) -> None:
        """``steps`` are those of the whole run; a run that ``goes_on`` will `load` its encoder's weights too."""
        self._recipe, self._strategy = recipe, strategy
        options, network_options = recipe.train, recipe.model
        if goes_on:
            network_options = network_options.model_copy(update={"encoder_weights": None})
        keras.utils.set_random_seed(options.seed)
        self.loss = build_loss(options, manifest)
        classes = len(manifest.taxonomy.classes)
        with strategy.scope():
            self.model = build_network(network_options, classes, strategy.num_replicas_in_sync > 1, options.precision)
            self.optimizer = build_optimizer(options, steps, self.model)
            self.model.compile(optimizer=self.optimizer, jit_compile=False)
            self.network, self._trained_network = logits_model(self.model), training_model(self.model)
            self.confusion = ConfusionMatrix(classes)
            self._average = WeightAverage(self.model, options.ema) if options.ema else None
            self._loss_scale = LossScale() if options.precision == "float16" else None

    def make_step(self, batch_spec: Any, augmentation: AugmentOptions) -> Callable[[Any, tf.Tensor], Trained]:
        """The compiled training step for batches like these."""
        objective = Objective(
            self._trained_network, training_loss(self._recipe.model, self.loss), self._recipe.model.activation
        )
        return make_training_step(
            self._strategy,
            objective,
            self.optimizer,
            augmentation,
            self._recipe.train,
            self.confusion,
            batch_spec,
            self._loss_scale,
            self._average,
        )

    def as_evaluated(self) -> AbstractContextManager[None]:
        """Inside, the network has the weights that are evaluated and exported: the averaged ones, if there are any."""
        return self._average.in_place() if self._average else nullcontext()

    def save(self, folder: Path) -> None:
        """Write the weights, and with them the optimizer's state; the averaged weights apart."""
        self.model.save_weights(folder / WEIGHTS)
        if self._average:
            with self._average.in_place():
                self._exported().save_weights(folder / AVERAGE)

    def load(self, checkpoint: Checkpoint) -> None:
        """Be what was saved."""
        with self._strategy.scope():
            self.model.load_weights(checkpoint.folder / WEIGHTS)
            if self._average:
                with self._average.in_place():
                    self._exported().load_weights(checkpoint.folder / AVERAGE)
            if checkpoint.state.confusion:
                self.confusion.set_counts(checkpoint.state.confusion)
            if self._loss_scale and checkpoint.state.loss_scale:
                self._loss_scale.set_state(*checkpoint.state.loss_scale)

    def is_finite(self) -> bool:
        """Whether all weights are."""
        return all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in self.model.weights)

    def state(self) -> dict[str, Any]:
        """What belongs into `State` of what the weight files do not hold."""
        return {
            "confusion": tuple(map(tuple, self.confusion.counts().tolist())),
            "loss_scale": self._loss_scale.state() if self._loss_scale else None,
        }

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.learning_rate)

    def _exported(self) -> keras.Model:
        """The network without its optimizer, whose state would be saved with it."""
        return keras.Model(self.model.inputs, self.model.outputs, name=self.model.name)

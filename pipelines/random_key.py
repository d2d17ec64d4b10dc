"""The key from which every random number of the augmentation follows: (seed, step, replica, purpose).

Nothing has a state that would have to be saved: replicas differ, a run can be repeated, and one that goes
on continues the sequence, because the step is part of the key.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

PURPOSES = 64
"""Different sequences that one key can give; deeper ones come from `RandomKey.within`."""


class RandomKey(NamedTuple):
    """What a step's random numbers are a function of: int32 scalars or Python ints."""

    seed: tf.Tensor | int
    step: tf.Tensor | int
    replica: tf.Tensor | int
    path: tuple[int, ...] = ()
    """Where in a nested list of operations the key is used."""

    def within(self, place: int) -> RandomKey:
        """The key of the operation at a place of a list; its sequences are its own."""
        return self._replace(path=(*self.path, place))

    def fold(self, purpose: int) -> tf.Tensor:
        """int32 (2,): the seed of one sequence, for TensorFlow's stateless operations."""
        folded = tf.random.fold_in(
            tf.cast(tf.stack([self.seed, self.step]), tf.int32), tf.cast(self.replica, tf.int32) * PURPOSES + purpose
        )
        for place in self.path:
            folded = tf.random.fold_in(folded, place)
        return folded

    def uniform(self, shape: tuple[tf.Tensor | int, ...], purpose: int) -> tf.Tensor:
        """float32 in [−1, 1), another sequence for each purpose."""
        return tf.random.stateless_uniform(shape, seed=self.fold(purpose), minval=-1.0, maxval=1.0)

    def chance(self, batch: tf.Tensor | int, probability: float, purpose: int) -> tf.Tensor:
        """bool (batch,), each true with the probability; 0 is never and 1 always."""
        return self.uniform((batch,), purpose) < 2.0 * probability - 1.0

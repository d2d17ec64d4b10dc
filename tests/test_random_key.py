"""The key of all random numbers: a function of (seed, step, replica, purpose, path) and nothing else."""

import itertools

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def test_every_part_of_the_key_gives_another_sequence_and_the_same_key_the_same():
    from pipelines.random_key import RandomKey

    keys = [RandomKey(*parts) for parts in itertools.product((1, 2), (0, 1), (0, 1))]
    keys += [keys[0].within(0), keys[0].within(1), keys[0].within(0).within(1), keys[0].within(1).within(0)]
    sequences = [tuple(key.uniform((8,), purpose).numpy().tolist()) for key in keys for purpose in (0, 1)]
    assert len(set(sequences)) == len(sequences)
    again = [tuple(key.uniform((8,), purpose).numpy().tolist()) for key in keys for purpose in (0, 1)]
    assert again == sequences


def test_numbers_are_uniform_and_a_chance_is_exact_at_its_ends():
    from pipelines.random_key import RandomKey

    key = RandomKey(5, 6, 0)
    numbers = key.uniform((10_000,), 0).numpy()
    assert numbers.min() >= -1
    assert numbers.max() < 1
    assert abs(numbers.mean()) < 0.03  # standard deviation 1/√3 / 100
    assert not key.chance(1000, 0.0, 1).numpy().any()
    assert key.chance(1000, 1.0, 1).numpy().all()
    assert np.mean(key.chance(10_000, 0.3, 1)) == pytest.approx(0.3, abs=0.02)


def test_an_images_numbers_do_not_depend_on_how_many_others_are_in_the_batch():
    from pipelines.random_key import RandomKey

    key = RandomKey(1, 2, 3)
    np.testing.assert_array_equal(key.uniform((3, 8), 0), key.uniform((9, 8), 0)[:3])

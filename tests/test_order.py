"""The order of an epoch and the workers' shares of it."""

import numpy as np
import pytest

from pipelines.order import epoch_order, worker_places, worker_share


def test_an_epoch_is_a_permutation_that_changes_with_seed_and_epoch():
    order = epoch_order(50, seed=3, epoch=2)
    assert sorted(order) == list(range(50))
    np.testing.assert_array_equal(order, epoch_order(50, seed=3, epoch=2))
    for other in (epoch_order(50, seed=3, epoch=3), epoch_order(50, seed=4, epoch=2)):
        assert not np.array_equal(order, other)


def test_one_process_reads_the_whole_order():
    order = epoch_order(10, 1, 0)
    places = worker_places(order, 0, batch_size=4)
    np.testing.assert_array_equal(places.numbers, order)
    np.testing.assert_array_equal(places.positions, np.arange(10))
    assert places.scored.all()


def test_going_on_gives_the_rest_and_nothing_after_the_end():
    order = epoch_order(10, 1, 0)
    np.testing.assert_array_equal(worker_places(order, 0, 4, skip_batches=2).positions, [8, 9])
    assert len(worker_places(order, 0, 4, skip_batches=3).numbers) == 0


def test_the_last_batch_is_filled_with_copies_of_its_first_image():
    # Batches 0 1 2 3 and 4; three replicas want multiples of 3.
    places = worker_places(np.arange(5) * 10, 7, batch_size=4, replicas=3)
    assert places.positions.tolist() == [0, 1, 2, 3, 0, 0, 4, 4, 4]
    assert places.numbers.tolist() == [0, 10, 20, 30, 0, 0, 40, 40, 40]
    assert places.scored.astype(int).tolist() == [1, 1, 1, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(("records", "batch_size", "replicas", "workers"), [(10, 4, 1, 2), (9, 6, 2, 3), (7, 3, 1, 4)])
def test_workers_side_by_side_are_one_process_with_as_many_replicas(records, batch_size, replicas, workers):
    order = epoch_order(records, 5, 1)
    whole = worker_places(order, 0, batch_size, replicas=replicas * workers)
    parts = [worker_places(order, 0, batch_size, replicas=replicas, worker=w, workers=workers) for w in range(workers)]
    assert len({len(part.numbers) for part in parts}) == 1
    first = 0
    joined = []
    for begin in range(0, records, batch_size):
        share = worker_share(min(batch_size, records - begin), replicas, workers)
        assert share % replicas == 0
        joined += [field for part in parts for field in part.positions[first : first + share]]
        first += share
    assert joined == whole.positions.tolist()
    # Every image is scored once, whoever reads it.
    scored = np.concatenate([part.positions[part.scored] for part in parts])
    assert sorted(scored) == list(range(records))

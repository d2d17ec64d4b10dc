"""What is measured while training runs."""

import pytest


def test_waiting_counts_the_time_in_the_loader_and_not_the_time_in_the_step(tensorflow_ready, monkeypatch):
    from model import monitors

    clock = [0.0]
    monkeypatch.setattr(monitors.time, "perf_counter", lambda: clock[0])

    def loader():
        for batch in range(3):
            clock[0] += 2.0  # seconds to make a batch
            yield batch
        clock[0] += 1.0  # and to find out that there is no more

    batches, seen = monitors.Waiting(loader()), []
    for batch in batches:
        seen.append(batch)
        clock[0] += 10.0  # seconds of a step
    assert seen == [0, 1, 2]
    assert batches.seconds == pytest.approx(3 * 2.0 + 1.0)
    assert clock[0] == 37.0

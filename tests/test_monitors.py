"""What is measured while training runs."""

import pytest


@pytest.fixture
def clock(tensorflow_ready, monkeypatch):
    """A clock that is set by hand: ``clock[0]``, in seconds."""
    from model import monitors

    seconds = [0.0]
    monkeypatch.setattr(monitors.time, "perf_counter", lambda: seconds[0])
    return seconds


def test_waiting_counts_the_time_in_the_loader_and_not_the_time_in_the_step(clock):
    from model import monitors

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


def test_the_end_of_an_iterator_is_waited_for_too(clock):
    from model.monitors import Waiting

    class Lingering:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def __del__(self):
            clock[0] += 60.0

    class Loader:
        def __iter__(self):
            return Lingering()

    batches = Waiting(Loader())
    assert list(batches) == []
    assert batches.seconds == pytest.approx(60.0)


def take(clock, seconds, end):
    clock[0] += seconds
    end()


def test_the_time_left_is_that_of_all_steps_and_evaluations_that_are_still_to_be_done(clock):
    from model.monitors import TimeLeft

    left = TimeLeft(epochs=5, steps_per_epoch=3, evaluate_every=2)  # evaluated after epochs 2, 4 and 5
    left.begin_epoch(0)
    assert left.seconds(0) is None
    take(clock, 60.0, left.end_step)  # traced and compiled: says nothing of the others
    assert left.seconds(1) is None
    take(clock, 2.0, left.end_step)
    take(clock, 4.0, left.end_step)
    assert left.seconds(3) == pytest.approx(12 * 3.0)  # of evaluations nothing is known yet
    left.end_epoch(evaluated=False)
    left.begin_epoch(1)
    for _ in range(3):
        take(clock, 3.0, left.end_step)
    clock[0] += 10.0
    left.end_epoch(evaluated=True)
    assert left.seconds(6) == pytest.approx(9 * 3.0 + 2 * 10.0)
    clock[0] += 1.0  # pictures and checkpoint
    left.begin_epoch(2)
    assert left.seconds(6) == pytest.approx(9 * 3.0 + 2 * 11.0)


def test_the_time_left_of_a_resumed_run_counts_what_this_process_did(clock):
    from model.monitors import TimeLeft

    clock[0] = 1000.0
    left = TimeLeft(epochs=4, steps_per_epoch=10, evaluate_every=1)
    left.begin_epoch(2)  # and 5 of its steps were done before
    for _ in range(3):
        take(clock, 0.5, left.end_step)
    assert left.seconds(28) == pytest.approx(12 * 0.5)


def test_the_bar_tells_what_one_wants_to_know_while_waiting(clock):
    from model.monitors import ProgressBar

    progress = ProgressBar(epochs=3, images=10, batch_size=4, evaluate_every=1)  # three steps an epoch
    progress.on_epoch_begin(1, {"batches_done": 1})
    logs = {"loss": 0.5, "miou": 0.25, "data_wait": 0.015}
    progress.on_train_batch_end(1, logs | {"step": 5})
    assert "| 8/10 [" in str(progress._bar)
    assert str(progress._bar).endswith(", loss 0.5000, mIoU 0.2500, 1.5 % waiting for data, time left unknown]")
    take(clock, 20.0, lambda: progress.on_train_batch_end(2, logs | {"step": 6}))
    assert "| 10/10 [" in str(progress._bar)  # the last batch is of two images
    assert str(progress._bar).endswith(", 01:00 left]")  # three steps of 20 s
    assert " images/s, " in str(progress._bar)
    progress.on_train_end()


def test_a_run_that_has_no_epoch_left_ends_without_a_bar(tensorflow_ready, capsys):
    from model.monitors import ProgressBar

    ProgressBar(epochs=3, images=10, batch_size=4, evaluate_every=1).on_train_end()
    assert capsys.readouterr() == ("", "")


def test_an_epochs_line_of_the_metrics_has_the_gradients_norm_when_it_is_told(tensorflow_ready, tmp_path):
    import csv

    from configs.taxonomy import load_taxonomy
    from model.monitors import MetricsFile

    logs = {"step": 3, "loss": 0.5, "miou": 0.25, "learning_rate": 1e-3, "images_per_second": 8.0, "data_wait": 0.1}
    metrics = MetricsFile(tmp_path, load_taxonomy("camvid11"), rows=0)
    metrics.on_epoch_end(0, logs)
    metrics.on_epoch_end(1, logs | {"step": 6, "grad_norm": 1.5})
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"], row["grad_norm"]) for row in rows] == [("1", "3", ""), ("2", "6", "1.5")]
    assert metrics.rows == 2

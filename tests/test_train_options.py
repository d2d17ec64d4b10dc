"""Options of training, each on a real small run: what they do to the run, its checkpoints and its score."""

import json
import re
import signal

import numpy as np
import pytest

from configs.commands import RunError, Stopped, UserError
from tests.runs import SMALL, last_step, read_rows, signal_after, weights


@pytest.fixture
def run(tensorflow_ready, tiny_records, tmp_path):
    """``run(*settings, name="run", flags=())`` trains and returns the folder."""
    from model.train import main

    def train(*settings, name="run", flags=()):
        folder = tmp_path / name
        main(
            ["--data", str(tiny_records), "--run", str(folder), *SMALL, *(f"--set={each}" for each in settings), *flags]
        )
        return folder

    return train


ALL_AT_ONCE = (
    *("train.precision=float16", "train.optimizer=sgd", "train.schedule=poly", "train.learning_rate=0.01"),
    *("train.encoder_learning_rate_factor=0.1", "train.clip_norm=1.0", "train.accumulate=2", "train.ema=0.9"),
)


@pytest.mark.slow
def test_all_at_once_stopped_in_mid_epoch_and_resumed_ends_as_the_unbroken_run(run, monkeypatch):
    """Average, momentum and loss scale are in the checkpoint, and what is evaluated is the average."""
    from model.evaluate import main as evaluate

    whole = run(*ALL_AT_ONCE, name="whole")
    signal_after(monkeypatch, 2, signal.SIGINT)
    with pytest.raises(Stopped, match="signal 2 after step 2"):
        run(*ALL_AT_ONCE, name="broken")
    monkeypatch.undo()
    broken = run(*ALL_AT_ONCE, name="broken", flags=["--resume"])
    for name in ("model.weights.h5", "average.weights.h5"):
        expected, found = weights(last_step(whole), name), weights(last_step(broken), name)
        assert expected.keys() == found.keys()
        for path, value in expected.items():
            np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-5, err_msg=path)
    states = [json.loads((last_step(folder) / "state.json").read_text()) for folder in (whole, broken)]
    assert states[0]["loss_scale"] == states[1]["loss_scale"]
    assert sum(states[0]["loss_scale"]) != 2**15  # it counted
    assert not any("optimizer" in path for path in weights(last_step(whole), "average.weights.h5"))
    evaluate(["--run", str(whole), "--checkpoint", "last"])
    report = json.loads((whole / "report" / "report.json").read_text())
    # Training evaluates in float16, the report in float32.
    assert report["mean_iou"] == pytest.approx(float(read_rows(whole)[-1]["val_miou"]), abs=0.02)


def test_what_is_evaluated_is_the_average(run):
    """With float32 the report's score is the logged one; the trained weights themselves would have another."""
    from model.checkpoints import AVERAGE
    from model.evaluate import main as evaluate

    folder = run("train.ema=0.5")
    logged = float(read_rows(folder)[-1]["val_miou"])

    def scored():
        evaluate(["--run", str(folder), "--checkpoint", "last"])
        return json.loads((folder / "report" / "report.json").read_text())["mean_iou"]

    assert scored() == pytest.approx(logged, rel=1e-6)
    state = json.loads((last_step(folder) / "state.json").read_text())
    del state["sha256"][AVERAGE]
    (last_step(folder) / "state.json").write_text(json.dumps(state))
    (last_step(folder) / AVERAGE).unlink()
    assert scored() != pytest.approx(logged, rel=1e-6)


def test_bfloat16_trains_and_its_weights_are_float32(run):
    folder = run("train.precision=bfloat16", "train.epochs=1")
    assert {value.dtype for path, value in weights(last_step(folder)).items() if "optimizer" not in path} == {
        np.dtype("float32")
    }
    assert np.isfinite(float(read_rows(folder)[0]["loss"]))


def test_patience_ends_a_run_that_no_longer_gets_better(run, capsys):
    folder = run("train.patience=1", "train.epochs=9", "train.learning_rate=1e-20", "model.bn_momentum=0.99")
    assert len(read_rows(folder)) < 9
    assert "1 evaluations without a better validation mIoU" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_names_step_keys_and_last_good_checkpoint(run, tiny_records):
    from pipelines.dataset import open_records
    from pipelines.records import deserialize

    with pytest.raises(RunError) as error:
        run("train.learning_rate=1e30", "train.warmup_steps=0", "train.epochs=5")
    found = re.search(r"at step (\d+) .*the batch's keys: (.*); the last good checkpoint: (.*); try", str(error.value))
    assert found
    reader = open_records(tiny_records).reader("train")
    known = {deserialize(reader.read(number)).key for number in range(len(reader))}
    keys = found[2].split(", ")
    assert 1 <= len(keys) <= 4
    assert set(keys) <= known
    assert found[3] == "none yet" or "step-" in found[3]


def test_an_update_that_is_too_much_is_noticed_before_the_weights_are_saved(run, tmp_path):
    """Of the epoch's only step loss and gradient are finite; what it made of the weights shows in validation."""
    with pytest.raises(RunError, match=r"validation loss (nan|inf) after step 1; the last good checkpoint: none yet"):
        run("train.learning_rate=1e30", "train.warmup_steps=0", "train.batch_size=10", "train.epochs=1")
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_what_auto_was_is_written_down(run):
    """A run that goes on elsewhere keeps the precision that it began with."""
    from model.precision import chosen
    from model.runs import open_run

    folder = run("train.precision=auto", "train.epochs=1")
    assert open_run(folder).recipe.train.precision == chosen("auto")


@pytest.mark.slow
def test_one_batch_alone_is_learnt(run):
    settings = ["train.epochs=12", "train.learning_rate=0.003", "train.schedule=constant", "train.evaluate_every=12"]
    rows = read_rows(run(*settings, flags=["--overfit-one-batch"]))
    losses = [float(row["loss"]) for row in rows]
    assert losses[-1] < 0.6 * losses[0]
    assert float(rows[-1]["miou"]) > float(rows[0]["miou"])


@pytest.mark.parametrize("file", ["model.weights.h5", pytest.param("state.json", marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_skipped_and_said(run, capsys, file):
    folder = run()
    expected = weights(last_step(folder))
    damaged = last_step(folder) / file
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
    damaged.write_bytes(data)
    run(flags=["--resume"])
    printed = capsys.readouterr().out
    assert re.search(rf"step-00000006 cannot be used \({file} is missing or damaged\); going back", printed)
    assert "from step 3" in printed
    assert last_step(folder).name == "step-00000006"
    for path, value in weights(last_step(folder)).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-5, err_msg=path)


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(run):
    """They may still be mended; to start again over them takes a word of the user's."""
    folder = run("train.epochs=1")
    for checkpoint in (folder / "checkpoints").glob("step-*"):
        (checkpoint / "model.weights.h5").write_bytes(b"no weights")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged; start again with --overwrite"):
        run("train.epochs=1", flags=["--resume"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

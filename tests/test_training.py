"""The road from records to masks: train, resume, evaluate, predict, as a person runs them."""

import json
import re
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from configs.commands import Stopped, UserError, run_command
from tests.runs import SMALL, last_step, read_rows, signal_after, weights


@pytest.fixture(scope="module")
def trained(tensorflow_ready, tiny_records, tmp_path_factory):
    """A run of two epochs of three steps."""
    from model.train import main

    folder = tmp_path_factory.mktemp("runs") / "whole"
    main(["--data", str(tiny_records), "--run", str(folder), *SMALL])
    return folder


def test_a_run_folder_holds_all_that_the_design_names(trained):
    assert {path.name for path in trained.iterdir()} >= {
        "config.yaml", "manifest.json", "environment.json", "checkpoints", "tensorboard", "metrics.csv",
    }  # fmt: skip
    assert last_step(trained).name == "step-00000006"
    assert (trained / "checkpoints" / "best").read_text().startswith("step-")
    rows = read_rows(trained)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    assert all(0 <= float(row["val_miou"]) <= 1 for row in rows)
    assert all(0 < float(row["data_wait"]) < 1 for row in rows)


def events(run, half):
    """What TensorBoard reads from one half, train or validation."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "tensorboard" / half), size_guidance={"tensors": 0}).Reload()


def traced_steps(profile):
    """The steps that a profile marks."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    steps = set()
    for plane in XSpace.FromString(profile.read_bytes()).planes:
        named = {number: stat.name for number, stat in plane.stat_metadata.items()}
        marks = {number for number, event in plane.event_metadata.items() if event.name == "train"}
        for event in (event for line in plane.lines for event in line.events if event.metadata_id in marks):
            steps |= {
                stat.int64_value or stat.uint64_value for stat in event.stats if named[stat.metadata_id] == "step_num"
            }
    return sorted(steps)


def steps_of(events, tag):
    return [point.step for point in events.Tensors(tag)]


def test_tensorboard_has_curves_and_pictures_of_each_evaluation_over_the_steps_done(trained):
    train, validation = events(trained, "train"), events(trained, "validation")
    during = {f"run/{name}" for name in ("learning_rate", "images_per_second", "data_wait")}
    assert {"loss", "miou", *during} <= set(train.Tags()["tensors"])
    assert {"loss", "miou", "per_class_iou/road"} <= set(validation.Tags()["tensors"])
    for tag in ("loss", "miou", "per_class_iou/road", "pictures/confusion matrix", "pictures/validation images"):
        assert steps_of(validation, tag) == [3, 6]
    for tag in ("loss", "miou", *during):
        assert steps_of(train, tag) == [3, 6]
    assert steps_of(train, "pictures/augmentation") == [0]


def test_tensorboard_tells_the_recipe_and_the_environment_and_explains_each_curve(trained):
    train, validation = events(trained, "train"), events(trained, "validation")
    (recipe,), (environment,) = (train.Tensors(tag)[0].tensor_proto.string_val for tag in ("recipe", "environment"))
    assert b"batch_size: 4" in recipe
    assert (trained / "environment.json").read_bytes().strip() in environment
    for half in (train, validation):
        assert all(half.SummaryMetadata(tag).summary_description for tag in half.Tags()["tensors"])


def test_each_epochs_line_tells_what_was_reached_and_how_long_the_rest_takes(tiny_records, tmp_path, capsys):
    from model.train import main

    main(["--data", str(tiny_records), "--run", str(tmp_path / "run"), *SMALL])
    out = capsys.readouterr().out
    told = r"loss \d\.\d{4}  mIoU 0\.\d{4}"
    waiting = r"\d+\.\d % waiting for data"
    assert re.search(rf"epoch +1/2  {told}  val loss .* images/s  {waiting}  \d\d:\d\d left\n", out)
    assert re.search(rf"epoch +2/2  {told}  val loss .* images/s  {waiting}  00:00 left\n", out)


def test_a_run_stopped_by_a_signal_and_resumed_ends_as_the_unbroken_one(trained, tiny_records, tmp_path, monkeypatch):
    from model.train import main

    folder = tmp_path / "broken"
    signal_after(monkeypatch, 5, signal.SIGTERM)
    with pytest.raises(Stopped, match=r"signal 15 after step 5; saved in .*--resume"):
        main(["--data", str(tiny_records), "--run", str(folder), *SMALL])
    monkeypatch.undo()
    main(["--run", str(folder), "--resume"])  # as it was told: the run's own recipe is taken
    whole, resumed = weights(last_step(trained)), weights(last_step(folder))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    losses, expected = ([float(row["loss"]) for row in read_rows(run)] for run in (folder, trained))
    assert losses == pytest.approx(expected, rel=1e-4)


def test_curves_of_a_resumed_run_have_neither_gap_nor_overlap(trained, tiny_records, tmp_path):
    from model.train import main

    copy = shutil.copytree(trained, tmp_path / "copy")
    # As if killed after the second epoch's lines were written, but before its checkpoint.
    shutil.rmtree(last_step(copy))
    (copy / "checkpoints" / "best").write_text(last_step(copy).name)
    main(["--data", str(tiny_records), "--run", str(copy), "--resume", *SMALL, "--profile", "5:6"])
    train, validation = events(copy, "train"), events(copy, "validation")
    assert steps_of(train, "loss") == steps_of(validation, "pictures/validation images") == [3, 6]
    assert steps_of(train, "recipe") == [0]
    assert [row["step"] for row in read_rows(copy)] == ["3", "6"]
    lines = (copy / "metrics.csv").read_bytes()
    assert lines.count(b"\r\n") == lines.count(b"\n") == 3
    # The profile counts the run's steps, of which this process did the last three.
    (profile,) = (copy / "tensorboard" / "train" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert traced_steps(profile) == [5, 6]


def test_evaluation_prints_the_table_and_writes_the_report(trained, capsys):
    from model.evaluate import main

    main(["--run", str(trained), "--split", "val"])
    printed = capsys.readouterr().out
    report = json.loads((trained / "report" / "report.json").read_text())
    assert report["images"] == 5
    assert list(report["per_class_iou"])[:2] == ["sky", "building"]
    values = [value for value in report["per_class_iou"].values() if value is not None]
    assert report["mean_iou"] == pytest.approx(np.mean(values))
    assert re.search(rf"mean IoU +{report['mean_iou']:.4f}", printed)
    with Image.open(trained / "report" / "confusion_matrix.png") as picture:
        assert min(picture.size) > 300


def test_evaluation_of_the_best_checkpoint_gives_the_miou_that_training_logged(trained):
    from model.evaluate import main

    main(["--run", str(trained)])
    report = json.loads((trained / "report" / "report.json").read_text())
    rows = read_rows(trained)
    assert report["mean_iou"] == pytest.approx(max(float(row["val_miou"]) for row in rows), abs=1e-6)
    # The sum of the confusion matrix is the number of scored pixels that the manifest counts.
    manifest = json.loads((trained / "manifest.json").read_text())
    assert np.sum(report["confusion_matrix"]) == sum(manifest["splits"]["val"]["class_pixels"])


def test_prediction_writes_ids_colours_and_overlays_at_the_inputs_own_size(trained, tmp_path, capsys):
    from configs.taxonomy import load_taxonomy
    from model.predict import main

    images = tmp_path / "images" / "sub"
    images.mkdir(parents=True)
    level = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
    Image.fromarray(level).save(images / "a.jpg")
    Image.fromarray(level[:33, :47]).save(images / "b.png")
    main(["--run", str(trained), "--input", str(tmp_path / "images"), "--output", str(tmp_path / "out")])
    assert "2 images" in capsys.readouterr().out
    for name, size in (("a", (70, 90)), ("b", (33, 47))):
        ids, color, overlay = (
            np.asarray(Image.open(tmp_path / "out" / kind / "sub" / f"{name}.png"))
            for kind in ("ids", "color", "overlay")
        )
        assert ids.shape == size
        assert ids.max() < 11
        np.testing.assert_array_equal(color, load_taxonomy("camvid11").colors[ids])
        assert overlay.shape == (*size, 3)


def test_prediction_says_which_image_it_left_out_and_does_the_rest(trained, tmp_path, capsys):
    from model.predict import main

    images = tmp_path / "images"
    images.mkdir()
    (images / "broken.jpg").write_bytes(b"not an image")
    Image.new("RGB", (64, 48)).save(images / "good.png")
    arguments = ["--run", str(trained), "--input", str(images), "--output", str(tmp_path / "out")]
    assert run_command(main, arguments) == 1
    error = capsys.readouterr().err
    assert "1 of 2 images were left out, first:" in error
    assert "broken.jpg" in error
    assert (tmp_path / "out" / "ids" / "good.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "RUN"], r"--run .*: exists; pass --resume to go on or --overwrite to start again"),
        (["--run", "RUN", "--resume", "--set", "train.seed=9"], r"the recipe changed \(train.seed: 1 -> 9\)"),
        (["--resume", "--overwrite"], "--resume and --overwrite: choose one"),
        (["--resume", "--overfit-one-batch"], "--resume and --overfit-one-batch: choose one"),
        (
            ["--set", "augment.crop=[40,64]"],
            "--set augment.crop=[40,64]: augment.crop: [40, 64] are no multiples",
        ),
        (["--profile", "5"], "'5' is not FIRST:LAST, such as 10:20 (steps count from 1)"),
        (["--profile", "9:3"], "'9:3' is not FIRST:LAST"),
        (["--profile=-1:4"], "'-1:4' is not FIRST:LAST"),
        (["--profile", "a:b"], "'a:b' is not FIRST:LAST"),
        (["--profile", "7:8"], "--profile 7:8: this run does steps 1 to 6; choose some of them"),
        (["--run", "RUN", "--resume", "--profile", "2:6"], "--profile 2:6: this run does steps 7 to 6"),
        (["--epohcs", "3"], "unknown argument '--epohcs'"),
        (["--stratgy", "none"], "unknown argument '--stratgy'; did you mean '--strategy'?"),
        (["--strategy", "both"], "invalid choice: 'both'"),
        (["--set", "train.epoch=3"], r"--set train.epoch=3: unknown key 'train.epoch'; did you mean 'epochs'\?"),
        (["--set", "train.epochs=few"], "--set train.epochs=few: train.epochs = 'few'"),
        (["--set", "train.loss=[{name: dise_loss}]"], "there is none of this name; did you mean 'dice_loss'?"),
        (["--config", "no/such.yaml"], "no/such.yaml: no such file"),
        (["--set", "data.val_split=test"], "split 'test' is not in the records; there are train, val"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(trained, tiny_records, capsys, arguments, message):
    from model.train import main

    given = [str(trained) if word == "RUN" else word for word in arguments]
    assert run_command(main, ["--data", str(tiny_records), *SMALL, *given]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error) or message in error


def test_a_recipe_that_does_not_fit_its_records_leaves_no_folder(tensorflow_ready, tiny_records, tmp_path):
    from model.train import main

    loss = "train.loss=[{name: cross_entropy, class_weights: [1, 2]}]"
    with pytest.raises(UserError, match="cross_entropy has 2 class_weights, the records have"):
        main(["--data", str(tiny_records), "--run", str(tmp_path / "run"), *SMALL, "--set", loss])
    assert not (tmp_path / "run").exists()


def test_two_runs_in_one_folder_at_once_are_refused(tensorflow_ready, tiny_records, tmp_path, monkeypatch):
    from configs.lock import locked
    from model.runs import choose_folder
    from model.train import main

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "demo"
    with locked(folder, "--run", "training"):
        with pytest.raises(UserError, match=r"demo.lock: process .* is training there; .* choose another --run"):
            main(["--data", str(tiny_records), "--run", str(folder), *SMALL])
        assert str(choose_folder("demo", None, resume=False, overwrite=False)) == "runs/demo_2"
    assert not folder.exists()


def test_an_old_run_is_overwritten_only_by_one_that_can_start(trained, tiny_records, tmp_path, monkeypatch):
    from model.train import main
    from pipelines import cache

    copy = shutil.copytree(trained, tmp_path / "copy")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"may be taken; set data\.cache=disk"):
        main(["--data", str(tiny_records), "--run", str(copy), "--overwrite", *SMALL, "--set", "data.cache=memory"])
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_run_that_goes_on_for_more_epochs_writes_them_down(trained, tmp_path):
    """So that `--run DIR --resume`, after a stop, goes on for as many."""
    from model.runs import open_run
    from model.train import main

    copy = shutil.copytree(trained, tmp_path / "copy")
    main(["--run", str(copy), "--resume", "--set", "train.epochs=3"])
    assert open_run(copy).recipe.train.epochs == 3
    assert len(read_rows(copy)) == 3


def test_missing_records_name_the_command_that_makes_them(tensorflow_ready, tmp_path):
    from model.train import main

    with pytest.raises(UserError, match=r"no records here .*python -m beam_jobs.build_records --input DIR --output"):
        main(["--data", str(tmp_path)])


def test_a_run_folder_that_is_none_is_refused(tensorflow_ready, tmp_path, trained):
    from model.evaluate import main

    with pytest.raises(UserError, match="no run here"):
        main(["--run", str(tmp_path)])
    with pytest.raises(UserError, match=f"did you mean '{re.escape(str(trained))}'"):
        main(["--run", str(trained.parent / "whle")])


def test_mirrored_training_on_two_logical_devices_from_the_command_line(run_cli, tiny_records, tmp_path):
    short = [*SMALL, "--set", "train.epochs=1"]
    arguments = ["--data", tiny_records, "--run", "two", "--strategy", "mirrored", "--logical-devices", 2, *short]
    finished = run_cli("model.train", *arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "2 replica(s)" in finished.stdout
    assert "best validation mIoU" in finished.stdout
    assert "Traceback" not in finished.stderr


def test_without_a_run_the_next_free_default_name_is_taken(tmp_path, monkeypatch):
    from model.runs import choose_folder

    monkeypatch.chdir(tmp_path)
    assert str(choose_folder("demo", None, resume=False, overwrite=False)) == "runs/demo"
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    assert str(choose_folder("demo", None, resume=False, overwrite=False)) == "runs/demo_2"
    assert str(choose_folder("demo", None, resume=True, overwrite=False)) == "runs/demo"
    assert str(choose_folder("demo", None, resume=False, overwrite=True)) == "runs/demo"


def test_windows_around_rare_classes_from_a_cache_train_and_every_pixel_is_scored(tiny_records, tmp_path, capsys):
    from model.evaluate import main as evaluate
    from model.train import main

    run = tmp_path / "windows"
    windows = ["data.size=[32,32]", "data.fit=crop", "data.rare_class_crop=0.5", "data.cache=memory", "train.epochs=1"]
    main(["--data", str(tiny_records), "--run", str(run), *SMALL, *(f"--set={setting}" for setting in windows)])
    printed = capsys.readouterr().out
    assert "10 training images at 32x32" in printed
    assert "cache in memory: 10 decoded images of 48x64" in printed
    evaluate(["--run", str(run)])
    report = json.loads((run / "report" / "report.json").read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    assert np.sum(report["confusion_matrix"]) == sum(manifest["splits"]["val"]["class_pixels"])

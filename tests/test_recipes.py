"""The recipes that come with us: all load, and those whose data needs registration build, train and score.

For the latter, streets are drawn in the layout of the data set, with every label of it; sizes and batch are small, and
the encoder's weights, whose download is tested elsewhere, are left out. All else is as the recipe says.
"""

from __future__ import annotations

import csv
import math
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beam_jobs.options import BuildOptions
from configs.loading import differences, load_config
from configs.taxonomy import load_taxonomy
from pipelines.manifest import read_manifest
from tests.conftest import REPOSITORY
from tests.streets import write_street

CONFIGS = REPOSITORY / "configs"
BUILDS = sorted(path.stem for path in CONFIGS.glob("*_build.yaml"))
TRAININGS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in BUILDS)
ROOTS = ("STREETMASK_CAMVID", "STREETMASK_CITYSCAPES", "STREETMASK_IDD")

LAYOUTS = {
    # data set: (size of the cameras' images divided by 16, stored size divided by 8, a frame's key, image's suffix)
    "cityscapes": ((64, 128), (64, 128), "{split}/aachen/aachen_{number:06d}_000019", ".png"),
    "idd21": ((68, 120), (72, 128), "{split}/{number:03d}/frame{number:04d}", ".jpg"),
}
SMALL = {
    "cityscapes_canet": ["augment.crop=[48,96]"],
    "cityscapes_unet": ["augment.crop=[32,64]"],
    "idd21_canet": ["augment.crop=[48,80]"],
    "idd21_unet": ["data.size=[32,64]"],
}
"""Recipe → what makes it small: windows of the stored images, or their size."""
FRAMES = {"train": 4, "val": 2}


def patches(labels: list[str], size: tuple[int, int], random: np.random.Generator) -> list[dict[str, Any]]:
    """A road everywhere, and on it an upright patch of each label, in any order."""
    height, width = size
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    objects = [{"label": "road", "polygon": corners, "deleted": 0, "draw": True}]
    columns = np.linspace(0, width, len(labels) + 1).astype(int)
    for label, left, right in zip(random.permutation(labels).tolist(), columns[:-1].tolist(), columns[1:].tolist()):
        patch = [[left, 4], [right - 1, 4], [right - 1, height - 9], [left, height - 9]]
        objects.append({"label": label, "polygon": patch, "deleted": 0, "draw": True})
    return objects


def write_data_set(root: Path, name: str) -> None:
    """Streets in the data set's trees, and what else lies in them: the published masks, and tests without polygons."""
    size, _, key, suffix = LAYOUTS[name]
    labels = list(load_taxonomy("cityscapes19" if name == "cityscapes" else name).labels)
    for split, frames in FRAMES.items():
        for number in range(frames):
            random = np.random.default_rng((number, split == "val"))
            picture = Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8))
            frame = key.format(split=split, number=number)
            write_street(root, frame, size, objects=patches(labels, size, random), image=picture, suffix=suffix)
            Image.new("L", size[::-1]).save(root / "gtFine" / f"{frame}_gtFine_labelIds.png")
    without = root / "leftImg8bit" / f"{key.format(split='test', number=0)}_leftImg8bit{suffix}"
    without.parent.mkdir(parents=True)
    picture.save(without)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the records of each data set below its name, made by its own build recipe at an eighth the size."""
    from beam_jobs.build_records import main

    base = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        for name, (_, stored, *_) in LAYOUTS.items():
            write_data_set(base / "input" / name, name)
            patch.setenv(f"STREETMASK_{name.removesuffix('21').upper()}", str(base / "input" / name))
            arguments = ["--config", CONFIGS / f"{name}_build.yaml", "--output", base / name]
            small = ["--resize", f"{stored[0]}x{stored[1]}", "--workers", 1]
            main([str(argument) for argument in [*arguments, *small]])
    return base


def header(name: str) -> str:
    """The comment at a recipe's head as one line."""
    lines = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.strip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_recipe_loads_and_names_a_taxonomy(name, monkeypatch):
    for root in ROOTS:
        monkeypatch.setenv(root, "somewhere")
    options = load_config(BuildOptions, CONFIGS / f"{name}.yaml")
    assert (str(options.input), f"{options.name}_build") == ("somewhere", name)
    assert load_taxonomy(str(options.taxonomy)).classes
    assert f"--config configs/{name}.yaml" in header(name)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_recipe_loads_and_its_header_says_how_to_run_it(name, tensorflow_ready):
    from model.recipe import Recipe

    recipe = load_config(Recipe, CONFIGS / f"{name}.yaml")
    assert recipe.name == name
    assert name == "demo" or f"python -m model.train --config configs/{name}.yaml" in header(name)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_recipe_trains_on_the_records_that_a_build_recipe_makes(name, tensorflow_ready, monkeypatch):
    from model.recipe import Recipe

    for root in ROOTS:
        monkeypatch.setenv(root, "somewhere")
    made = {str(load_config(BuildOptions, CONFIGS / f"{build}.yaml").output) for build in BUILDS}
    assert str(load_config(Recipe, CONFIGS / f"{name}.yaml").data.records) in {*made, str(BuildOptions().output)}


@pytest.mark.parametrize("name", [*SMALL, "cityscapes_build", "idd21_build"])
def test_a_recipe_that_was_never_run_says_so(name):
    assert "Not run here: the data needs registration." in header(name)


def test_the_articles_recipe_is_the_articles(tensorflow_ready):
    from model.recipe import Recipe

    recipe = load_config(Recipe, CONFIGS / "idd21_unet.yaml")
    network = recipe.model
    assert (network.name, network.backbone, network.activation) == ("unet", "resnet34", "sigmoid")
    assert [term.name for term in recipe.train.loss] == ["cce_dice_loss"]
    assert recipe.augment.recipe == "article"
    assert not recipe.augment.moves  # its five operations and nothing else


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_built_whole_with_every_class(built, name):
    manifest = read_manifest(built / name)
    assert {split: entry.records for split, entry in manifest.splits.items()} == FRAMES
    assert (manifest.name, manifest.dead_letters) == (name, 0)
    assert manifest.sizes() == {LAYOUTS[name][1]: sum(FRAMES.values())}
    assert all(manifest.splits["train"].class_pixels)


@pytest.mark.parametrize(
    "name",
    # Each is compiled for half a minute; one of them in the quick tests.
    [pytest.param(name, marks=[] if name == "idd21_unet" else [pytest.mark.slow]) for name in SMALL],
)
def test_a_recipe_whose_data_needs_registration_trains_a_step_and_scores(name, built, tmp_path, tensorflow_ready):
    from model.precision import chosen
    from model.recipe import Recipe, settle_precision
    from model.runs import open_run
    from model.train import main

    records, run = built / name.rpartition("_")[0], tmp_path / "run"
    short = [f"train.batch_size={FRAMES['train']}", "train.epochs=1", "train.pictures=0"]
    changes = [*SMALL[name], *short, "model.encoder_weights=null"]
    overrides = [word for change in changes for word in ("--set", change)]
    main(["--config", str(CONFIGS / f"{name}.yaml"), "--data", str(records), "--run", str(run), *overrides])

    trained, asked = open_run(run), load_config(Recipe, CONFIGS / f"{name}.yaml")
    asked = settle_precision(asked, chosen("auto"))
    changed = differences(asked.model_dump(mode="json"), trained.recipe.model_dump(mode="json"))
    assert {"data.records", *(change.partition("=")[0] for change in changes)} == {*changed}
    assert changed["model.encoder_weights"] == ("imagenet", None)
    with open(run / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "1"
    assert all(math.isfinite(float(row[key])) for key in ("loss", "val_loss"))
    ious = [float(row[f"iou/{label}"]) for label in trained.manifest.taxonomy.class_names]
    assert all(0.0 <= iou < 1.0 for iou in ious)  # every class is in the validation images
    assert float(row["val_miou"]) == pytest.approx(np.mean(ious))

"""The preview of a recipe's augmentation: one sheet, the same for the same step."""

import re

import numpy as np
import pytest
from PIL import Image

from configs.commands import run_command


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def preview(tiny_records, output, *arguments):
    from pipelines.preview import main

    return run_command(main, ["--data", str(tiny_records), "--output", str(output), *arguments])


def test_a_sheet_shows_samples_before_and_after_and_steps_differ(tiny_records, tmp_path, capsys):
    sheets = {}
    for name, step in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.png"
        assert preview(tiny_records, path, "--samples", "3", "--step", str(step)) == 0
        sheets[name] = np.asarray(Image.open(path))
    assert re.search(r"a\.png: 3 images, augmentation 'street', step 1", capsys.readouterr().out)
    np.testing.assert_array_equal(sheets["a"], sheets["b"])
    assert not np.array_equal(sheets["a"], sheets["c"])
    # Streets of 48x64 are shown 240 wide, 180 high, four in a row.
    assert sheets["a"].shape[1] == 4 * 240 + 3 * 4
    assert sheets["a"].shape[0] > 3 * 180


def test_without_augmentation_after_is_before(tiny_records):
    from pipelines.augment import AugmentOptions
    from pipelines.dataset import open_records
    from pipelines.input import DataOptions, training_batches
    from pipelines.preview import preview_sheet

    records = open_records(tiny_records)
    options = DataOptions(records=tiny_records)
    images, masks = next(iter(training_batches(records, options, lambda: (0, 0), batch_size=2, stride=1, seed=1)))
    sheet = preview_sheet(images, masks, AugmentOptions(recipe="none"), records.manifest.taxonomy, seed=1, step=0)
    first = sheet[24 : 24 + 180]
    np.testing.assert_array_equal(first[:, :484], first[:, 488:972])


def test_a_training_recipe_is_taken_whole_and_mistakes_are_told(tiny_records, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: x\naugment: {recipe: none, crop: [32, 40]}\nmodel: {backbone: resnet18}\ntrain: {epochs: 3}\n"
    )
    assert preview(tiny_records, tmp_path / "crop.png", "--config", str(recipe)) == 0
    assert preview(tiny_records, tmp_path / "x.png", "--set", "augment.recipe=stret") == 2
    assert "did you mean 'street'?" in capsys.readouterr().err
    assert preview(tiny_records, tmp_path / "x.png", "--samples", "0") == 2
    assert not (tmp_path / "x.png").exists()

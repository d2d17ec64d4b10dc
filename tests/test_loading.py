"""Tests of typed configuration: what overrides what, and the one line that a wrong key or value gives."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from configs.commands import UserError
from configs.loading import Config, differences, dump_yaml, load_config, read_yaml


class Term(Config):
    """One entry of a list in the test's recipe."""

    name: str
    weight: float = 1.0


class Train(Config):
    """A section of the test's recipe."""

    epochs: int = Field(default=5, ge=1)
    rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    loss: tuple[Term, ...] = ()


class Recipe(Config):
    """A recipe for these tests."""

    name: str = "run"
    folder: Path | None = None
    size: tuple[int, int] | None = None
    train: Train = Train()
    second: Train | None = None


class Strict(Config):
    """A configuration with a key that has no default."""

    needed: int


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def failure(*args: object, **kwargs: object) -> str:
    with pytest.raises(UserError) as caught:
        load_config(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_then_file_then_set_then_flags(tmp_path):
    # epochs: default 5, file 6, --set 7, flag 8. Each step is taken away in turn.
    path = write(tmp_path, "train: {epochs: 6}")
    flags = {"train.epochs": 8}
    assert load_config(Recipe).train.epochs == 5
    assert load_config(Recipe, path).train.epochs == 6
    assert load_config(Recipe, path, ["train.epochs=7"]).train.epochs == 7
    assert load_config(Recipe, path, ["train.epochs=7"], flags).train.epochs == 8
    assert load_config(Recipe, path, ["train.epochs=7"], {"train.epochs": None}).train.epochs == 7
    assert load_config(Recipe, path, ["train.epochs=7", "train.epochs=9"]).train.epochs == 9


def test_an_override_keeps_its_section_s_other_keys(tmp_path):
    path = write(tmp_path, "train: {epochs: 6, rate: 0.5}")
    assert load_config(Recipe, path, ["train.epochs=7"]).train == Train(epochs=7, rate=0.5)


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    # YAML 1.1 has no dot in 1e-3 and so takes it for a string.
    assert load_config(Recipe, write(tmp_path, "train: {rate: 1e-4}")).train.rate == 1e-4
    assert load_config(Recipe, None, ["train.rate=1e-4"]).train.rate == 1e-4


def test_values_of_set_are_yaml():
    loaded = load_config(Recipe, None, ["size=[48, 64]", "train.loss=[{name: dice, weight: 2}]", "second=null"])
    assert loaded.size == (48, 64)
    assert loaded.train.loss == (Term(name="dice", weight=2.0),)
    assert loaded.second is None


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load_config(Recipe, write(tmp_path, "# nothing yet\n")) == Recipe()


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().name = "other"  # type: ignore[misc]


def test_a_dumped_configuration_reads_back(tmp_path):
    recipe = Recipe(name="a", size=(48, 64), train=Train(loss=(Term(name="dice"),)), folder=Path("x/y"))
    assert load_config(Recipe, write(tmp_path, dump_yaml(recipe))) == recipe


def test_an_unknown_key_names_its_place_and_the_nearest(tmp_path):
    path = write(tmp_path, "train: {epoch: 6}")
    assert failure(Recipe, path) == f"{path}: unknown key 'train.epoch'; did you mean 'epochs'?"
    assert failure(Recipe, None, ["trian.epochs=6"]) == (
        "--set trian.epochs=6: unknown key 'trian'; did you mean 'train'?"
    )
    assert failure(Recipe, None, ["second.epoch=6"]) == (
        "--set second.epoch=6: unknown key 'second.epoch'; did you mean 'epochs'?"
    )
    assert failure(Recipe, None, [], {"zzz_zzz": 1}) == (
        "--zzz-zzz: unknown key 'zzz_zzz'; known here: name, folder, size, train, second"
    )


def test_an_unknown_key_within_a_list_offers_the_nearest_too():
    message = failure(Recipe, None, ["train.loss=[{name: dice, wieght: 2}]"])
    assert message == (
        "--set train.loss=[{name: dice, wieght: 2}]: unknown key 'train.loss.0.wieght'; did you mean 'weight'?"
    )


def test_a_wrong_value_names_its_place_the_value_and_what_was_expected(tmp_path):
    path = write(tmp_path, "train: {epochs: many}")
    assert failure(Recipe, path).startswith(f"{path}: train.epochs = 'many': input should be a valid integer")
    assert failure(Recipe, path, ["train.epochs=0"]) == (
        "--set train.epochs=0: train.epochs = 0: input should be greater than or equal to 1"
    )
    assert failure(Recipe, None, [], {"train.schedule": "cosin"}) == (
        "--schedule: train.schedule = 'cosin': input should be 'cosine' or 'constant'"
    )


def test_a_missing_key_is_named(tmp_path):
    assert failure(Strict) == "Strict: 'needed' is missing"
    path = write(tmp_path, "")
    assert failure(Strict, path) == f"{path}: 'needed' is missing"


@pytest.mark.parametrize("text", ["epochs", "=3", " =3"])
def test_set_wants_key_and_value(text):
    assert failure(Recipe, None, [text]) == f"--set {text}: expected key=value, such as --set train.epochs=2"


def test_a_missing_file_offers_one_beside_it(tmp_path):
    write(tmp_path, "")
    wanted = tmp_path / "recipes.yaml"
    assert failure(Recipe, wanted) == f"{wanted}: no such file; did you mean '{tmp_path / 'recipe.yaml'}'?"
    assert failure(Recipe, tmp_path / "no" / "x.yaml") == f"{tmp_path / 'no' / 'x.yaml'}: no such file"


def test_a_file_that_is_no_yaml_names_the_line(tmp_path):
    path = write(tmp_path, "name: a\ntrain: [1, 2\n")
    assert failure(Recipe, path).startswith(f"{path}: not YAML in line 3 (")
    assert failure(Recipe, None, ["name=[1"]).startswith("--set name=[1: not YAML in line 1 (")


def test_a_file_that_is_no_mapping_or_no_text_is_refused(tmp_path):
    path = write(tmp_path, "- a\n- b\n")
    assert failure(Recipe, path) == f"{path}: expected 'key: value' lines, found list"
    path.write_bytes(b"name: \xff\xfe")
    assert failure(Recipe, path).startswith(f"{path}: cannot be read (")
    assert failure(Recipe, tmp_path).startswith(f"{tmp_path}: cannot be read (")


def test_variables_of_the_environment_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("STREETS", "far/away")
    path = write(tmp_path, "folder: ${STREETS}/images\nname: a${STREETS}b\n")
    loaded = load_config(Recipe, path)
    assert (loaded.folder, loaded.name) == (Path("far/away/images"), "afar/awayb")


def test_a_variable_that_is_not_set_is_named_with_its_place(tmp_path, monkeypatch):
    monkeypatch.delenv("STREETS", raising=False)
    path = write(tmp_path, "name: ${STREETS}/x")
    text = "'${STREETS}/x' needs the environment variable STREETS, which is not set"
    assert failure(Recipe, path) == f"{path}: {text}"
    assert failure(Recipe, None, ["name=${STREETS}/x"]) == f"--set name=${{STREETS}}/x: {text}"


def test_differences_lists_leaves_that_changed_came_or_went():
    old = {"a": 1, "b": {"c": 2, "d": [3]}, "e": 4}
    new = {"a": 1, "b": {"c": 5, "d": [3]}, "f": 6}
    assert differences(old, new) == {"b.c": (2, 5), "e": (4, None), "f": (None, 6)}
    assert differences(old, old) == {}


def test_read_yaml_wants_keys_that_are_text(tmp_path):
    with pytest.raises(UserError, match="expected 'key: value' lines"):
        read_yaml(write(tmp_path, "1: a\n"))

"""Tests of the builder's options: sizes as text, and limits that are told with the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_jobs.build_records import parse_options
from beam_jobs.options import BuildOptions
from configs.commands import UserError
from configs.loading import dump_yaml, load_config


def failure(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(BuildOptions, None, overrides)
    return str(caught.value)


def test_a_size_is_text_or_a_pair_height_first():
    for text in ("resize=48x64", "resize=[48, 64]"):
        assert load_config(BuildOptions, None, [text]).resize == (48, 64)


@pytest.mark.parametrize("value", ["48", "48xx64", "0x64", "[48]", "[48, 64, 3]", "[0, 64]", "[-48, 64]"])
def test_what_is_no_size_is_refused(value):
    message = failure(f"resize={value}")
    assert message.startswith(f"--set resize={value}: ")
    assert "resize" in message.removeprefix(f"--set resize={value}: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shards=-1", "shards = -1: input should be greater than or equal to 0"),
        ("jpeg_quality=101", "jpeg_quality = 101: input should be less than or equal to 100"),
        ("max_bad_fraction=1.5", "max_bad_fraction = 1.5: input should be less than or equal to 1"),
        ("validation_fraction=1", "validation_fraction = 1: input should be less than 1"),
        ("unknown_labels=ignor", "unknown_labels = 'ignor': input should be 'error', 'ignore' or 'skip'"),
        ("name=Tiny Set", "name = 'Tiny Set': string should match pattern '^[a-z][a-z0-9_]*$'"),
        ("taxonomi=idd21", "unknown key 'taxonomi'; did you mean 'taxonomy'?"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_limit(override, message):
    assert failure(override) == f"--set {override}: {message}"


def test_options_read_back_from_yaml(tmp_path):
    options = BuildOptions(input=Path("a b"), resize=(48, 64), taxonomy="idd21", shards=3)
    (tmp_path / "o.yaml").write_text(dump_yaml(options))
    assert load_config(BuildOptions, tmp_path / "o.yaml") == options


def test_flags_go_to_us_and_the_rest_to_beam(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("taxonomy: idd21\nshards: 2\nworkers: 1\n")
    arguments = ["--config", str(recipe), "--set", "salt=x", "--shards", "5", "--resize", "48x64"]
    options, beam_flags, after = parse_options([*arguments, "--overwrite", "--job_name=j", "--", "--odd", "--shards=1"])
    assert (options.taxonomy, options.shards, options.workers, options.salt) == ("idd21", 5, 1, "x")
    assert (options.resize, options.overwrite) == ((48, 64), True)
    assert (beam_flags, after) == (["--job_name=j"], ["--odd", "--shards=1"])


def test_a_flag_that_is_not_given_keeps_the_recipes_value(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("overwrite: true\nunknown_labels: skip\n")
    options, *_ = parse_options(["--config", str(recipe)])
    assert (options.overwrite, options.unknown_labels) == (True, "skip")

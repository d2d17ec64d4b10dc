"""Tests of counting labels, and of the first taxonomy that is written from them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from PIL import Image

from beam_jobs.labels import count_labels
from configs.commands import UserError, run_command
from configs.swatches import spread_colors
from configs.taxonomy import load_taxonomy
from configs.taxonomy_command import draft_yaml, main
from tests.builds import without_bars
from tests.streets import make_streets, write_street

BOX = [[1, 1], [9, 1], [9, 9]]


def written_labels(folder: Path) -> Counter[str]:
    """Labels as they stand in the JSON files, counted without any reader."""
    files = folder.rglob("*_gtFine_polygons.json")
    return Counter(entry["label"] for file in files for entry in json.loads(file.read_text())["objects"])


def drafted(tmp_path: Path, counts: dict[str, int]):
    path = tmp_path / "drafted.yaml"
    path.write_text(draft_yaml("drafted", counts), encoding="utf-8")
    return load_taxonomy(str(path))


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = without_bars(capsys.readouterr().err).splitlines()
    return [line for line in lines if not line.startswith("counting labels")]


def test_every_object_is_counted_by_its_label(streets):
    assert count_labels(streets) == written_labels(streets)
    assert count_labels(streets, "cityscapes") == written_labels(streets)


def test_an_object_of_several_parts_is_one_and_deleted_ones_are_none(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    parts = [{"vertices": BOX, "closed": True}, {"vertices": BOX, "closed": True}]
    labels = [{"category": "car", "poly2d": parts}, {"category": "car", "poly2d": parts[:1]}]
    (tmp_path / "labels.json").write_text(json.dumps([{"name": "a.jpg", "labels": labels}]))
    assert count_labels(tmp_path) == {"car": 2}
    objects = [{"label": "car", "polygon": BOX}, {"label": "bus", "polygon": BOX, "deleted": 1}]
    write_street(tmp_path / "streets", "train/d/f", objects=objects)
    assert count_labels(tmp_path / "streets") == {"car": 1}


def test_faults_are_told_and_counted_and_do_not_end_the_count(tmp_path, capsys):
    folder = make_streets(tmp_path / "damaged", splits={"train": 3})
    write_street(folder, "train/drive00/wrong", objects=[{"label": 7, "polygon": BOX}])
    _, broken = write_street(folder, "train/drive00/broken")
    broken.write_text("{")
    image, _ = write_street(folder, "train/drive00/lonely")
    image.unlink()
    expected = count_labels(make_streets(tmp_path / "whole", splits={"train": 3}))
    capsys.readouterr()
    assert count_labels(folder) == expected
    lines = told(capsys)
    path = "gtFine/train/drive00"
    assert lines[0] == f"left out: {path}/lonely_gtFine_polygons.json: there is no image for this annotation"
    assert lines[1].startswith(f"left out: {path}/broken_gtFine_polygons.json: not JSON in UTF-8")
    assert lines[2].startswith(f"left out: {path}/wrong_gtFine_polygons.json: object 0 has label 7, which is not text")
    assert lines[3:] == ["3 of 6 files or pairs left out"]


def test_of_many_faults_a_few_are_told_one_by_one(tmp_path, capsys):
    for index in range(9):
        write_street(tmp_path, f"train/d/f{index}", objects=[{"label": 7, "polygon": BOX}])
    write_street(tmp_path, "train/d/good", objects=[{"label": "car", "polygon": BOX}])
    assert count_labels(tmp_path) == {"car": 1}
    lines = told(capsys)
    assert len(lines) == 6
    assert lines[-1] == "9 of 10 files or pairs left out"


def test_a_folder_without_labels_is_the_users_mistake(tmp_path, streets):
    with pytest.raises(UserError, match=r"^--from .*nowhere: no such folder"):
        count_labels(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"^--format zzz: unknown"):
        count_labels(streets, "zzz")
    write_street(tmp_path / "empty", "train/d/f", objects=[])
    with pytest.raises(UserError, match=r"^--from .*empty: no labels found in 1 annotations of format cityscapes$"):
        count_labels(tmp_path / "empty")


def test_ready_masks_have_no_labels(tmp_path):
    for tree, mode, suffix in (("images", "RGB", "jpg"), ("masks", "L", "png")):
        (tmp_path / tree).mkdir()
        Image.new(mode, (64, 48)).save(tmp_path / tree / f"a.{suffix}")
    with pytest.raises(UserError, match=r"ready masks hold ids and no labels; write their taxonomy by hand$"):
        count_labels(tmp_path)


def test_a_first_taxonomy_loads_and_covers_all_labels_by_falling_count(tmp_path, streets, capsys):
    path = tmp_path / "mine.yaml"
    assert run_command(main, ["--from", str(streets), "--output", str(path)]) == 0
    taxonomy, counts = load_taxonomy(str(path)), written_labels(streets)
    assert taxonomy.name == "mine"
    assert sorted(taxonomy.labels) == sorted(counts)
    assert all(label == target for label, target in taxonomy.labels.items())
    falling = [counts[name] for name in taxonomy.class_names]
    assert falling == sorted(falling, reverse=True)
    assert list(taxonomy.labels) == taxonomy.class_names
    assert len({entry.color for entry in taxonomy.classes}) == len(counts)
    text = path.read_text()
    assert all(
        any(line.split() == [f"{name}:", name, "#", str(counts[name])] for line in text.splitlines()) for name in counts
    )
    assert capsys.readouterr().out.splitlines() == [
        f"labels of {counts.total()} objects written to {path}; merge classes in it, then check it:",
        f"python -m configs.taxonomy {path}",
    ]
    assert run_command(main, [str(path), "--output", str(tmp_path / "mine.png")]) == 0


def test_a_first_taxonomy_is_named_after_its_folder_and_never_overwritten(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_streets(tmp_path / "2024 Streets", splits={"": 2})
    assert run_command(main, ["--from", "2024 Streets"]) == 0
    path = Path("labels_2024_streets.yaml")
    assert load_taxonomy(str(path)).name == "labels_2024_streets"
    before = path.read_bytes()
    capsys.readouterr()
    assert run_command(main, ["--from", "2024 Streets"]) == 2
    assert told(capsys) == [f"error: --output {path}: is there already; remove it or name another"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "x.png"], "error: --output x.png: a taxonomy is YAML; its name must end in .yaml"),
        (["--output", "no/x.yaml"], "error: --output no/x.yaml: cannot be written (No such file or directory)"),
        (["--format", "cityscape"], "error: --format cityscape: unknown; did you mean 'cityscapes'?"),
    ],
)
def test_a_wrong_command_line_is_the_users_mistake(streets, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(streets.parent)
    assert run_command(main, ["--from", "streets", *arguments]) == 2
    assert told(capsys)[-1].startswith(message)


def test_labels_that_yaml_reads_as_something_else_are_quoted(tmp_path):
    odd = [
        "no",
        "null",
        "1.5",
        "0x1f",
        "2024-01-01",
        "a: b",
        "x #y",
        "[z",
        "a, b}",
        "straße",
        "'q' \\ \"r\"",
        "~",
        "-",
        "🚲",
    ]
    taxonomy = drafted(tmp_path, dict.fromkeys(odd, 1))
    assert sorted(taxonomy.class_names) == sorted(odd)
    assert taxonomy.labels == {label: label for label in taxonomy.class_names}


def test_labels_that_differ_in_case_or_spaces_are_one(tmp_path):
    text = draft_yaml("drafted", {"Car": 2, " car": 3, "bus": 4, "  ": 9})
    assert yaml.safe_load(text)["labels"] == {"car": "car", "bus": "bus"}
    assert [line.split()[-1] for line in text.splitlines()[-2:]] == ["5", "4"]


def test_the_words_with_a_meaning_and_what_is_above_255_classes_are_ignored(tmp_path):
    assert drafted(tmp_path, {"car": 1, "ignore": 3, "skip": 2}).labels == {
        "ignore": "ignore",
        "skip": "ignore",
        "car": "car",
    }
    taxonomy = drafted(tmp_path, {f"label {index}": 1000 - index for index in range(300)})
    assert len(taxonomy.classes) == 255
    assert [taxonomy.class_id(f"label {index}") for index in (0, 254, 255, 299)] == [0, 254, 255, 255]
    assert taxonomy.labels["label 255"] == "ignore"


def test_spread_colours_differ_and_neighbours_are_far_apart():
    colors = spread_colors(255)
    assert len(set(colors)) == 255
    assert min(max(color) for color in colors) > 100  # never near black, which is ignored
    assert colors[:12] == spread_colors(12)
    gaps = [sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in pairwise(colors)]
    assert min(gaps) > 100

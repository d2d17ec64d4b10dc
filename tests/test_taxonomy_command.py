"""Tests of the command that checks a taxonomy, prints its table and draws its swatches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from configs.commands import run_command
from configs.swatches import draw_swatches
from configs.taxonomy import Taxonomy
from configs.taxonomy_command import main

SKY = {"name": "sky", "color": [1, 2, 3]}
SMALL = {
    "name": "small",
    "classes": [SKY, {"name": "car", "color": [4, 5, 6]}],
    "labels": {
        "sky": "sky",
        "car": "car",
        "polegroup": "sky",
        "pole": "car",
        "void": "ignore",
        "license plate": "skip",
    },
}


def small(**changes: object) -> Taxonomy:
    return Taxonomy.model_validate({**SMALL, **changes})


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "classes: [{name: sky, color: [1, 2, 3]}, {name: sky, color: [4, 5, 6]}]",
            ["classes.1.name: 'sky' stands twice"],
        ),
        ("classes: [{name: sky}]", ["classes.0.color: is missing"]),
        (
            "classes: [{name: sky, colour: [1, 2, 3]}]",
            ["classes.0.color: is missing", "classes.0.colour: unknown key; did"],
        ),
        ("classes: [{name: sky, color: [1, 2]}]", ["classes.0.color.2: is missing"]),
        (
            "classes: [{name: sky, color: [1, 256, -1]}]",
            [
                "classes.0.color.1: input should be less than or equal to 255, found 256",
                "classes.0.color.2: input should be greater than or equal to 0, found -1",
            ],
        ),
        ("classes: [{name: sky, color: blue}]", ["classes.0.color: input should be a valid tuple, found 'blue'"]),
        ("classes: []", ["classes: tuple should have at least 1 item after validation, not 0, found []"]),
        (
            "classes: [{name: ignore, color: [1, 2, 3]}]",
            ["classes.0.name: a class cannot be called 'ignore'", "labels.sky: 'sky' is neither a class"],
        ),
        ("labels: {no: sky, sky: off}", ["labels: False: 'sky' must both be text", "labels: 'sky': False must both"]),
        ("labels: {tree: skye, void: none}", ["labels.tree: 'skye' is neither a", "labels.void: 'none' is neither a"]),
        ("labels: {sky: sky, sky: sky}", ["labels.sky: stands twice, in lines 3 and 3"]),
        ("canvas: air", ["canvas: 'air' is neither a class nor ignore"]),
        ("coarser: idd_level9", ["coarser: taxonomy 'idd_level9' is unknown; did you mean 'idd_level"]),
        ("coarser: idd_level1", ["classes.0.parent: 'sky' has none, though coarser is idd_level1"]),
        (
            "classes: [{name: sky, color: [1, 2, 3], parent: skyy}]\ncoarser: idd_level1",
            ["classes.0.parent: 'skyy' is no class of idd_level1; did you mean 'sky'?"],
        ),
        ("name: Small Streets", ["name: string should match pattern"]),
    ],
)
def test_the_check_tells_every_fault_with_its_key_in_a_line(tmp_path, capsys, monkeypatch, text, faults):
    monkeypatch.chdir(tmp_path)
    base = {
        "name": "name: small",
        "classes": "classes: [{name: sky, color: [1, 2, 3]}]",
        "labels": "labels: {sky: sky}",
    }
    lines = [line for key, line in base.items() if f"{key}:" not in f"\n{text}".replace("{name:", "")]
    Path("small.yaml").write_text("\n".join([*lines, text]) + "\n")
    assert run_command(main, ["small.yaml"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(faults), told
    assert all(line.startswith(f"error: small.yaml: {fault}") for line, fault in zip(told, faults, strict=True)), told
    assert not Path("small.png").exists()


def test_more_than_255_classes_are_refused_by_the_check(tmp_path, capsys):
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "classes": [{"name": f"c{i}", "color": [0, 0, 0]} for i in range(256)]}))
    assert run_command(main, [str(path)]) == 2
    assert "classes: tuple should have at most 255 items" in capsys.readouterr().err


def test_a_good_taxonomy_is_printed_and_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command(main, ["idd21"]) == 0
    out = capsys.readouterr().out
    assert "idd21.yaml: 21 classes of 41 labels; canvas: unlabeled\n" in out
    assert "  9  large vehicle          #003c64  truck, bus, vehicle fallback, trailer, caravan\n" in out
    assert out.splitlines()[-2].split() == ["skip", "license", "plate"]
    assert out.endswith("swatches drawn in idd21.png\n")
    with Image.open("idd21.png") as picture:
        assert picture.mode == "RGB"


def test_the_table_shows_parents_and_the_remarks_what_may_not_be_meant(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classes = [{**SKY, "parent": "air"}, {"name": "car", "color": [4, 5, 6]}, {"name": "bus", "color": [4, 5, 6]}]
    Path("small.yaml").write_text(yaml.safe_dump({**SMALL, "classes": classes}))
    assert run_command(main, ["small.yaml", "--output", "here.png"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        " id  class   color    parent  labels",
        "  0  sky     #010203  air     polegroup, sky",
        "  1  car     #040506          car, pole",
        "  2  bus     #040506",
        "255  ignore  #000000          void",
        "     skip                     license plate",
        "note: class 'bus' has no label",
        "note: classes 'car' and 'bus' have one colour",
        "swatches drawn in here.png",
    ]


def test_swatches_have_the_classes_colours_from_top_to_bottom():
    colors = [(200, 10, 30), (10, 200, 30), (30, 10, 200)]
    classes = [{"name": f"c{index}", "color": color} for index, color in enumerate(colors)]
    picture = np.asarray(draw_swatches(small(classes=classes, labels={"a": "c2", "b": "skip"})))
    tops = []
    for color in [*colors, (0, 0, 0)]:  # ignore is black
        rows, columns = np.nonzero((picture == color).all(axis=2))
        assert len(rows) > 0.8 * 55 * 23  # the box within its outline, but for the id
        assert columns.max() < 80
        tops.append(int(rows.min()))
    assert tops == sorted(tops)
    assert len(set(np.diff(tops))) == 1


def test_swatches_grow_with_labels_that_need_several_lines():
    few, many = ({f"label number {index}": "car" for index in range(count)} for count in (2, 60))
    low, high = (draw_swatches(small(labels=labels)) for labels in (few, many))
    assert high.width == low.width
    assert high.height > low.height + 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: which taxonomy? name one, or its YAML file, or say --from DIR to write a first one"),
        (["idd21", "--from", "x"], "error: which taxonomy? name one, or its YAML file, or say --from DIR"),
        (
            ["idd21", "--format", "coco"],
            "error: --format coco: is of the annotations of --from DIR, which was not given",
        ),
        (["idd21", "--output", "x.yaml"], "error: --output x.yaml: swatches are a PNG; its name must end in .png"),
        (["idd21", "--output", "no/x.png"], "error: --output no/x.png: cannot be written (No such file or directory)"),
        (["idd22"], "error: taxonomy 'idd22' is unknown; did you mean 'idd21'?"),
        (["idd.yaml"], "error: idd.yaml: no such file"),
        (["idd21", "--outptu", "x"], "error: unknown argument '--outptu'; did you mean '--output'?"),
    ],
)
def test_a_wrong_command_line_is_the_users_mistake(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run_command(main, arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_command_is_the_module_that_the_messages_name(run_cli, tmp_path):
    done = run_cli("configs.taxonomy", "camvid11", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "camvid11.png").is_file()

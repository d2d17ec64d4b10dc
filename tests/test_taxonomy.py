"""Tests of taxonomies: labels to class ids, the files that come with us, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from configs.commands import UserError
from configs.taxonomy import FOLDER, IGNORE_ID, Taxonomy, UnknownLabel, load_taxonomy, normalize_label

SMALL = {
    "name": "small",
    "canvas": "ignore",
    "classes": [{"name": "sky", "color": [1, 2, 3]}, {"name": "car", "color": [4, 5, 6]}],
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


def message_of(**changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        small(**changes)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_taxonomy_that_comes_with_us_is_read_and_named_as_its_file(name):
    taxonomy = load_taxonomy(name)
    assert taxonomy.name == name
    assert len({entry.color for entry in taxonomy.classes}) == len(taxonomy.classes)
    assert set(taxonomy.class_names) <= set(taxonomy.labels.values())


@pytest.mark.parametrize(
    ("name", "classes", "ids"),
    [
        ("camvid11", 11, {"sky": 0, "road": 3, "bicyclist": 10, "unlabeled": 255}),
        # The trainId column of cityscapesScripts' labels.py.
        ("cityscapes19", 19, {"road": 0, "pole": 5, "sky": 10, "bicycle": 18, "cargroup": 13, "polegroup": 255}),
        ("cityscapes19", 19, {"license plate": None, "ego vehicle": 255}),
    ],
)
def test_ids_are_those_of_the_published_benchmarks(name, classes, ids):
    taxonomy = load_taxonomy(name)
    assert len(taxonomy.classes) == classes
    assert {label: taxonomy.class_id(label) for label in ids} == ids


def test_a_label_is_its_class_ignored_or_not_drawn():
    taxonomy = small()
    assert taxonomy.class_id("car") == 1
    assert taxonomy.class_id("void") == IGNORE_ID == 255
    assert taxonomy.class_id("license plate") is None


def test_upper_case_and_stray_spaces_do_not_matter():
    assert normalize_label("  License \t Plate\n") == "license plate"
    assert small().class_id(" CAR ") == 1


def test_a_group_is_its_member_unless_it_is_a_label_of_its_own():
    taxonomy = small()
    assert taxonomy.class_id("cargroup") == taxonomy.class_id("car group") == 1
    assert taxonomy.class_id("polegroup") == 0  # its own entry; its member pole is 1


def test_the_canvas_is_ignored_or_a_class():
    assert small().canvas_id == 255
    assert small(canvas="car").canvas_id == 1


def test_ids_without_a_class_are_black():
    colors = small().colors
    assert colors.shape == (256, 3)
    assert colors[:2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert not colors[2:].any()


def test_an_unknown_label_offers_the_nearest_and_the_way_out():
    with pytest.raises(UnknownLabel) as caught:
        small().class_id("Lisense plate")
    assert str(caught.value) == (
        "label 'Lisense plate', which taxonomy small lacks; did you mean 'license plate'? "
        "Add it to its file or pass --unknown-labels ignore"
    )
    with pytest.raises(UnknownLabel) as caught:
        load_taxonomy("camvid11").class_id("zzzzz")
    assert str(caught.value) == (
        "label 'zzzzz', which taxonomy camvid11 lacks. "
        "Add it to configs/taxonomies/camvid11.yaml or pass --unknown-labels ignore"
    )


@pytest.mark.parametrize("label", ["", "group", " "])
def test_a_label_without_a_word_is_unknown(label):
    with pytest.raises(UnknownLabel):
        small().class_id(label)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": [*SMALL["classes"], SMALL["classes"][0]]}, "class 'sky' stands twice"),
        ({"canvas": "skye"}, "canvas 'skye' is no class; did you mean 'sky'?"),
        ({"canvas": "skip"}, "canvas 'skip' is no class"),
        ({"labels": {"auto": "cars"}}, "label 'auto' has class 'cars'; did you mean 'car'?, which is not in classes"),
        ({"labels": {"Car ": "car", "car": "sky"}}, "labels 'Car ' and 'car' differ in case or spaces only"),
        ({"labels": {False: "car"}}, "labels: False: 'car' must both be text (quote them in YAML)"),
        ({"labels": {"car": None}}, "labels: 'car': None must both be text (quote them in YAML)"),
        (
            {"classes": [{"name": "ignore", "color": [0, 0, 0]}]},
            "a class cannot be called 'ignore': the word has a meaning of its own",
        ),
    ],
)
def test_an_inconsistent_taxonomy_is_refused(changes, message):
    assert message_of(**changes) == f"Value error, {message}"


def test_there_are_at_most_255_classes():
    # Ids are 0..254 in a byte; 255 is taken.
    entries = [{"name": f"c{index}", "color": [0, 0, 0]} for index in range(256)]
    assert len(small(classes=entries[:255], labels={}).classes) == 255
    assert "at most 255 items" in message_of(classes=entries, labels={})
    assert "at least 1 item" in message_of(classes=[], labels={})


def test_a_taxonomy_is_read_by_name_or_path(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    assert load_taxonomy(str(path)) == small()
    assert small() == Taxonomy.model_validate_json(small().model_dump_json())


def test_an_unknown_taxonomy_lists_those_there_are():
    with pytest.raises(UserError) as caught:
        load_taxonomy("camvid12")
    assert str(caught.value).startswith("taxonomy 'camvid12' is unknown; did you mean 'camvid11'? there are camvid11, ")
    with pytest.raises(UserError, match=r"or name a YAML file$"):
        load_taxonomy("zzz")


def test_a_wrong_file_is_named_with_its_fault(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "clases": []}))
    with pytest.raises(UserError) as caught:
        load_taxonomy(str(path))
    assert str(caught.value) == f"{path}: unknown key 'clases'; did you mean 'classes'?"
    path.write_text("name: small\nclasses:\n  - {name: no, color: [1, 2, 3]}\nlabels:\n  no: sky\n")
    with pytest.raises(UserError, match=r"quote|text|string") as caught:
        load_taxonomy(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(UserError, match="no such file"):
        load_taxonomy(str(Path("nowhere") / "x.yaml"))

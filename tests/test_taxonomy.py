"""Tests of taxonomies: labels to class ids, the files that come with us, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from configs.commands import UserError
from configs.taxonomy import FOLDER, IGNORE, IGNORE_ID, Taxonomy, UnknownLabel, load_taxonomy, normalize_label

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
SKY = SMALL["classes"][0]
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def small(**changes: object) -> Taxonomy:
    return Taxonomy.model_validate({**SMALL, **changes})


def message_of(**changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        small(**changes)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_taxonomy_that_comes_with_us_is_read_and_named_as_its_file(name):
    taxonomy = load_taxonomy(name)
    assert taxonomy.name == name
    assert len({entry.color for entry in taxonomy.classes}) == len(taxonomy.classes)
    assert set(taxonomy.class_names) <= set(taxonomy.labels.values())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_opens_with_what_it_is_and_its_source(path):
    comment = path.read_text(encoding="utf-8").split("\nname: ")[0]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert "\n# Source" in comment


@pytest.mark.parametrize(
    ("name", "classes", "ids"),
    [
        ("camvid11", 11, {"sky": 0, "road": 3, "bicyclist": 10, "unlabeled": 255}),
        # The trainId column of cityscapesScripts' labels.py.
        ("cityscapes19", 19, {"road": 0, "pole": 5, "sky": 10, "bicycle": 18, "car": 13, "polegroup": 255}),
        ("cityscapes19", 19, {"license plate": None, "ego vehicle": 255}),
        # The catId column minus one.
        ("cityscapes_categories", 7, {"road": 0, "wall": 1, "pole": 2, "terrain": 3, "sky": 4, "rider": 5, "bus": 6}),
        ("cityscapes_categories", 7, {"static": 255, "parking": 255, "license plate": None}),
        # The trainId column of bdd100k's label.py, and its older spellings.
        ("bdd100k", 19, {"road": 0, "traffic light": 6, "traffic sign": 7, "person": 11, "rider": 12, "garage": 255}),
        ("bdd100k", 19, {"motor": 17, "motorcycle": 17, "bike": 18, "bicycle": 18, "pedestrian": 11, "van": 13}),
        # The columns level4Id to level1Id of AutoNUE's anue_labels.py.
        ("idd_level4", 30, {"rail track": 3, "animal": 6, "caravan": 14, "train": 15, "tunnel": 26, "sky": 28}),
        ("idd_level3", 26, {"rail track": 3, "animal": 4, "caravan": 12, "train": 12, "tunnel": 23, "sky": 25}),
        ("idd_level2", 16, {"rail track": 3, "animal": 4, "caravan": 8, "train": 8, "tunnel": 13, "sky": 15}),
        ("idd_level1", 7, {"rail track": 1, "animal": 2, "caravan": 3, "train": 3, "tunnel": 5, "sky": 6}),
        ("idd_level4", 30, {"fallback background": 29, "unlabeled": 255, "license plate": 255}),
    ],
)
def test_ids_are_those_of_the_published_benchmarks(name, classes, ids):
    taxonomy = load_taxonomy(name)
    assert len(taxonomy.classes) == classes
    assert {label: taxonomy.class_id(label) for label in ids} == ids


@pytest.mark.parametrize(("fine", "coarse"), [("idd_level4", "idd_level3"), ("idd_level3", "idd_level2")])
def test_the_levels_of_idd_have_the_same_labels_and_void(fine, coarse):
    ours, theirs = load_taxonomy(fine).labels, load_taxonomy(coarse).labels
    assert list(ours) == list(theirs) == list(load_taxonomy("idd_level1").labels)
    assert len(ours) == 40
    assert {label for label in ours if ours[label] == IGNORE} == {label for label in ours if theirs[label] == IGNORE}


@pytest.mark.parametrize("name", [name for name in SHIPPED if load_taxonomy(name).coarser])
def test_the_parent_of_a_labels_class_is_its_class_on_the_coarser_level(name):
    fine = load_taxonomy(name)
    coarse = load_taxonomy(fine.coarser)
    parents = {entry.name: entry.parent for entry in fine.classes}
    common = fine.labels.keys() & coarse.labels.keys()
    differ = {label for label in common if parents.get(fine.labels[label], fine.labels[label]) != coarse.labels[label]}
    # AutoNUE's table: rail track has sidewalk's id at level 4, and another one than sidewalk at level 3.
    assert differ == ({"rail track"} if name == "idd_level4" else set())
    assert set(parents.values()) == set(coarse.class_names)


def test_idd21_is_level_2_plus_one_with_train_apart_and_void_as_classes():
    course, level2 = load_taxonomy("idd21"), load_taxonomy("idd_level2")
    ids = {label: (course.class_id(label), level2.class_id(label)) for label in level2.labels}
    assert ids.pop("train") == (20, 8)
    assert ids.pop("license plate") == (None, 255)
    void = {label: ours for label, (ours, theirs) in ids.items() if theirs == 255}
    assert void == {"unlabeled": 0, "out of roi": 0, "ego vehicle": 17, "rectification border": 19}
    assert all(ours == theirs + 1 for ours, theirs in ids.values() if theirs != 255)
    # 40 labels of the course's table, of which IDD's own lacks ground, and license plate.
    assert set(course.labels) - set(level2.labels) == {"ground"}
    assert len(course.labels) == 41


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
    assert taxonomy.group_member("cargroup") == taxonomy.group_member(" Car group") == "car"
    assert taxonomy.group_member("polegroup") is None  # its own entry
    assert taxonomy.group_member("treegroup") is None  # tree is in no table
    assert taxonomy.group_member("car") is None
    assert taxonomy.group_member("group") is None


def test_whether_a_group_counts_is_not_the_taxonomys_to_decide():
    with pytest.raises(UnknownLabel, match="label 'cargroup', which taxonomy small lacks"):
        small().class_id("cargroup")
    assert small().class_id("polegroup") == 0  # its own entry; its member pole is 1


def test_a_ready_masks_values_are_ids_and_255_unless_a_table_says_otherwise():
    values = small().mask_values
    assert values.dtype == np.int16
    assert values.tolist() == [0, 1, *[-1] * 253, 255]
    values = small(ids={7: "car", 0: "ignore", 255: "sky"}).mask_values
    assert {value: int(values[value]) for value in np.flatnonzero(values >= 0)} == {0: 255, 7: 1, 255: 0}


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
    with pytest.raises(
        UnknownLabel, match=r"'treee'.*did you mean 'tree'\? Add it to configs/taxonomies/camvid11.yaml or"
    ):
        load_taxonomy("camvid11").class_id("treee")


def test_a_label_near_no_other_is_told_how_to_begin_a_taxonomy():
    with pytest.raises(UnknownLabel) as caught:
        load_taxonomy("camvid11").class_id("zzzzz")
    assert str(caught.value) == (
        "label 'zzzzz', which taxonomy camvid11 lacks. Add it to configs/taxonomies/camvid11.yaml, "
        "pass --unknown-labels ignore, or write a taxonomy of your labels with python -m configs.taxonomy --from DIR"
    )


def test_another_taxonomy_of_a_shipped_name_is_not_told_to_change_the_shipped_file():
    with pytest.raises(UnknownLabel, match="Add it to its file, pass"):
        small(name="camvid11").class_id("zzzzz")


@pytest.mark.parametrize("label", ["", "group", " "])
def test_a_label_without_a_word_is_unknown(label):
    with pytest.raises(UnknownLabel):
        small().class_id(label)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": [*SMALL["classes"], SKY]}, "classes.2.name: 'sky' stands twice, also as class 0"),
        ({"canvas": "skye"}, "canvas: 'skye' is neither a class nor ignore; did you mean 'sky'?"),
        ({"canvas": "skip"}, "canvas: 'skip' is neither a class nor ignore"),
        ({"ids": {7: "cars"}}, "ids.7: 'cars' is neither a class nor ignore; did you mean 'car'?"),
        (
            {"labels": {"auto": "cars"}},
            "labels.auto: 'cars' is neither a class nor ignore nor skip; did you mean 'car'?",
        ),
        ({"labels": {"Car ": "car", "car": "sky"}}, "labels: 'Car ' and 'car' differ in case or spaces only"),
        ({"labels": {False: "car"}}, "labels: False: 'car' must both be text (quote them in YAML)"),
        ({"labels": {"car": None}}, "labels: 'car': None must both be text (quote them in YAML)"),
        (
            {"classes": [{"name": "ignore", "color": [0, 0, 0]}]},
            "classes.0.name: a class cannot be called 'ignore': the word has a meaning of its own",
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
    assert str(caught.value).startswith("taxonomy 'camvid12' is unknown; did you mean 'camvid11'? there are bdd100k, ")
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


def test_a_coarser_file_is_looked_for_beside_the_finer(tmp_path):
    (tmp_path / "coarse.yaml").write_text(yaml.safe_dump({**SMALL, "name": "coarse"}))
    fine = {**SMALL, "coarser": "coarse.yaml", "classes": [{**entry, "parent": "sky"} for entry in SMALL["classes"]]}
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump(fine))
    assert load_taxonomy(str(tmp_path / "fine.yaml")).classes[1].parent == "sky"
    (tmp_path / "fine.yaml").write_text(yaml.safe_dump({**SMALL, "coarser": "coarse.yaml"}))
    with pytest.raises(UserError, match=r"fine.yaml: classes.0.parent: 'sky' has none, though coarser is coarse.yaml$"):
        load_taxonomy(str(tmp_path / "fine.yaml"))

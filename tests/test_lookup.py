"""Tests of the lookup for files that describe many images: which image a name means, under which key and split."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from beam_jobs.annotation import BadInput
from beam_jobs.formats.base import Files, parse_json
from beam_jobs.formats.lookup import ImageLookup, _folder_split, file_split, to_inline
from beam_jobs.scan import SPLITS, split_of
from tests.folders import write_json


def lookup(*paths: str, folder="nowhere"):
    return ImageLookup(Files(Path(folder), sorted(paths)))


def meant(paths, name, annotation="labels.json"):
    """(key, image) of the only candidate, or the message of the dead letter for the name."""
    images = lookup(*paths)
    images.add(name, annotation, {})
    found = images.found()
    if found.candidates:
        return found.candidates[0][:2]
    return next(letter.message for letter in found.dead_letters if letter.source == annotation)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("instances_val2017.json", "val"),
        ("annotations/instances_train2014.json", "train"),
        ("bdd100k_labels_images_train.json", "train"),
        ("Training.json", "train"),
        ("my-validation-set.json", "val"),
        ("test.json", "test"),
        ("valid/_annotations.coco.json", "val"),
        ("train/val/x.json", "train"),
        ("train/instances_val.json", "val"),
        ("labels.json", ""),
        ("trainval.json", ""),
        ("latest.json", ""),
        ("interval.json", ""),
        ("my training data/labels.json", ""),
    ],
)
def test_a_split_is_read_from_the_files_name_then_from_its_folders(path, split):
    assert file_split(path) == split


def test_folders_are_splits_as_the_scan_understands_them():
    for folder, split in SPLITS.items():
        assert _folder_split([folder]) == split == split_of(f"{folder}/a")
    for folder in ("train_images", "tests", "evaluation", "val-2"):
        assert _folder_split([folder]) == ""
        assert split_of(f"{folder}/a") is None


@pytest.mark.parametrize(
    ("paths", "name", "annotation", "key"),
    [
        # The name alone, wherever the image lies.
        (["images/cam1/a.jpg"], "a.jpg", "labels.json", "cam1/a"),
        # With folders, as they are and as another machine has them.
        (["images/cam1/a.jpg", "images/cam2/a.jpg"], "cam2/a.jpg", "labels.json", "cam2/a"),
        (["images/cam1/a.jpg", "images/cam2/a.jpg"], "C:\\data\\set\\cam2\\a.jpg", "labels.json", "cam2/a"),
        (["cam1/a.jpg"], "/home/ann/images/cam1/a.jpg", "labels.json", "cam1/a"),
        (["cam1/a.jpg"], "../cam1/images/a.jpg", "json/labels.json", "cam1/a"),
        (["a.jpg"], "https://example.org/set/a.jpg", "labels.json", "a"),
        # Beside the annotation file, then from the input folder, before anywhere else.
        (["one/a.jpg", "two/a.jpg"], "a.jpg", "two/labels.json", "two/a"),
        (["a.jpg", "thumbs/a.jpg"], "a.jpg", "json/labels.json", "a"),
        (["x/a.jpg", "y/x/a.jpg"], "x/a.jpg", "labels.json", "x/a"),
        # Of several, the one of the split of which the file's name speaks.
        (["images/train/a.jpg", "images/val/a.jpg"], "a.jpg", "coco_val.json", "val/a"),
        (["images/interval/a.jpg", "images/val/a.jpg"], "a.jpg", "coco_val.json", "val/a"),
        # That split is the record's, whatever the image's folder.
        (["images/train2017/a.jpg"], "a.jpg", "mini_val.json", "val/train2017/a"),
        (["images/aval.jpg"], "aval.jpg", "val.json", "val/aval"),
        # A name without suffix, as in BDD100K's oldest files.
        (["a.b.png"], "a.b", "labels.json", "a.b"),
        (["a[1]* ü.jpg"], "a[1]* ü.jpg", "labels.json", "a[1]* ü"),
    ],
)
def test_a_name_means_one_image(paths, name, annotation, key):
    found = meant(paths, name, annotation)
    assert found[0] == key, found
    assert found[1] in paths


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_either_unicode_normal_form_are_the_same(form):
    other = "NFD" if form == "NFC" else "NFC"
    path = unicodedata.normalize(form, "straße é/b é.jpg")
    assert meant([path], unicodedata.normalize(other, path))[1] == path


@pytest.mark.parametrize(
    ("paths", "name", "message"),
    [
        (["a.jpg"], "b.jpg", "labels.json: image 'b.jpg': there is no such image"),
        (["a.jpg"], "", "labels.json: image '': there is no such image"),
        (["a.jpg"], "/", "labels.json: image '/': there is no such image"),
        (["a.jpg"], "a.png", "labels.json: image 'a.png': there is no such image"),
        (["a.jpg"], "\ud800.jpg", "labels.json: image '\\ud800.jpg': there is no such image"),
        (["a.jpg"], "b" * 5000, f"labels.json: image '{'b' * 200}': there is no such image"),
        (
            ["cam2/a.jpg"],  # frames of two drives are called alike: this would be a mask of another picture
            "cam1/a.jpg",
            "labels.json: image 'cam1/a.jpg': there is no such image; the folders of cam2/a.jpg are others",
        ),
        (
            ["x/a.jpg", "y/a.jpg"],
            "a.jpg",
            "labels.json: image 'a.jpg': x/a.jpg and y/a.jpg could be meant",
        ),
    ],
)
def test_a_name_that_means_none_or_several_is_a_dead_letter(paths, name, message):
    assert meant(paths, name) == message


def test_an_image_that_stands_twice_is_no_candidate_even_under_two_splits():
    images = lookup("images/a.jpg", "images/b.jpg")
    for annotation in ("train.json", "val.json"):
        images.add("a.jpg", annotation, {})
    images.add("b.jpg", "val.json", {})
    found = images.found()
    assert [one.key for one in found.candidates] == ["val/b"]
    assert [letter.message for letter in found.dead_letters] == [
        "images/a.jpg: stands in train.json and again in val.json"
    ]


def test_two_images_of_one_key_are_no_candidates():
    images = lookup("a.jpg", "a.png")
    for name in ("a.jpg", "a.png"):
        images.add(name, "labels.json", {})
    found = images.found()
    assert found.candidates == []
    assert [(one.code, one.message) for one in found.dead_letters] == [
        ("duplicate_key", "a.jpg and a.png have one key, 'a'")
    ]


def test_images_that_nobody_names_are_dead_letters():
    found = lookup("images/train/a.jpg", "x.json").found()
    assert [letter[:4] for letter in found.dead_letters] == [
        ("train/a", "scan", "no_annotation", "images/train/a.jpg: there is no annotation for this image")
    ]


def test_maps_of_labels_that_nobody_names_are_no_images():
    """Data sets bring their annotations in several forms side by side."""
    maps = ["labels/sem_seg/masks/train/a.png", "labels/sem_seg/colormaps/train/a.png", "panoptic/val/a.png"]
    found = lookup(*maps, "images/train/a.jpg", "labels/b.jpg").found()
    assert [letter.source for letter in found.dead_letters] == ["images/train/a.jpg", "labels/b.jpg"]


def test_files_that_cannot_be_read_are_dead_letters_and_the_others_are_parsed(tmp_path):
    write_json(tmp_path, "good.json", [1])
    write_json(tmp_path, "cut.json", b"[1")
    os.symlink(tmp_path / "gone", tmp_path / "link.json")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    names = ["cut.json", "folder.json", "good.json", "image.jpg", "link.json", "missing.json", "pipe.json"]
    images = lookup(*names, folder=tmp_path)
    assert list(images.parsed()) == [("good.json", [1])]
    images.add("image.jpg", "good.json", {})
    found = {letter.key: (letter.code, letter.message) for letter in images.found().dead_letters}
    assert found.pop("cut.json")[0] == "annotation_not_json"
    no_file, gone = "not a regular file", "No such file or directory"
    assert found == {
        "folder.json": ("not_a_file", f"folder.json: {no_file}"),
        "link.json": ("file_unreadable", f"link.json: {gone}"),
        "missing.json": ("file_unreadable", f"missing.json: {gone}"),
        "pipe.json": ("not_a_file", f"pipe.json: {no_file}"),
    }


def test_damaged_files_stop_the_build_when_nothing_else_was_found(tmp_path):
    write_json(tmp_path, "a.json", b"")
    images = lookup("a.jpg", "a.json", "b.json", folder=tmp_path)
    assert list(images.parsed()) == []
    with pytest.raises(BadInput, match="the file is empty") as caught:
        images.found()
    assert (caught.value.code, caught.value.source) == ("annotation_empty", "a.json")


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, "é", True, None], "b": {}},
        {"height": 10**400},
        {"label": "\ud800", "text": "null"},
        [[1, float("inf")], [-float("inf"), 2]],
    ],
)
def test_an_inline_annotation_is_read_back_as_it_was(value):
    assert parse_json(to_inline(value).encode()) == value
    assert to_inline(value) == to_inline(value)


def test_not_a_number_stays_one():
    assert to_inline([float("nan")]) == "[NaN]"


@pytest.mark.parametrize("depth", [300, 1000])
def test_an_entry_that_is_nested_too_deep_costs_its_own_image_only(depth):
    """Parsers read more than they write: the whole file was parsed, so the other images are good."""
    images = lookup("a.jpg", "b.jpg")
    images.add("a.jpg", "x.json", parse_json(b"[" * depth + b"]" * depth))
    images.add("b.jpg", "x.json", {})
    found = images.found()
    assert [one.key for one in found.candidates] == ["b"]
    assert [(one.code, one.message) for one in found.dead_letters] == [
        ("annotation_too_deep", "x.json: image 'a.jpg': brackets are nested deeper than 200"),
        ("no_annotation", "a.jpg: there is no annotation for this image"),
    ]

"""Tests of the scan: which files are pairs, and what is said of those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beam_jobs.scan import group_of, list_files, scan, split_of
from configs.commands import UserError
from tests.streets import make_streets, write_street


def letters(folder: Path) -> dict[str, tuple[str, str]]:
    """Key → (code, message) of what has no partner."""
    return {letter.key: (letter.code, letter.message) for letter in scan(folder).dead_letters}


def test_pairs_come_sorted_by_key_with_sizes_and_times_of_both_files(tmp_path):
    make_streets(tmp_path, splits={"val": 2, "train": 3})
    pairs, dead, *_ = scan(tmp_path)
    assert [pair.key for pair in pairs] == [
        "train/drive00/frame0000",
        "train/drive00/frame0002",
        "train/drive01/frame0001",
        "val/drive00/frame0000",
        "val/drive01/frame0001",
    ]
    assert dead == []
    first = pairs[0]
    assert first.image == "leftImg8bit/train/drive00/frame0000_leftImg8bit.jpg"
    assert first.annotation == "gtFine/train/drive00/frame0000_gtFine_polygons.json"
    image, annotation = os.stat(tmp_path / first.image), os.stat(tmp_path / first.annotation)
    assert (first.image_size, first.image_mtime_ns) == (image.st_size, image.st_mtime_ns)
    assert (first.annotation_size, first.annotation_mtime_ns) == (annotation.st_size, annotation.st_mtime_ns)


def test_an_annotation_may_stand_beside_its_image(tmp_path):
    image, annotation = write_street(tmp_path / "x", "a/frame")
    for path in (image, annotation):
        os.rename(path, tmp_path / path.name)
    assert [pair.key for pair in scan(tmp_path).pairs] == ["frame"]


def test_a_file_without_a_partner_is_a_dead_letter(tmp_path):
    make_streets(tmp_path, splits={"train": 1})
    image, _ = write_street(tmp_path, "train/drive00/alone")
    _, annotation = write_street(tmp_path, "train/drive00/lonely")
    lonely, alone = annotation.relative_to(tmp_path), image.relative_to(tmp_path)
    (tmp_path / "gtFine/train/drive00/alone_gtFine_polygons.json").unlink()
    (tmp_path / "leftImg8bit/train/drive00/lonely_leftImg8bit.jpg").unlink()
    assert letters(tmp_path) == {
        "train/drive00/alone": ("no_annotation", f"{alone}: there is no annotation for this image"),
        "train/drive00/lonely": ("no_image", f"{lonely}: there is no image for this annotation"),
    }
    assert len(scan(tmp_path).pairs) == 1
    assert {letter.stage for letter in scan(tmp_path).dead_letters} == {"scan"}


def test_two_images_of_one_key_are_a_dead_letter_that_names_both(tmp_path):
    jpg, _ = write_street(tmp_path, "train/drive00/frame")
    png, _ = write_street(tmp_path, "train/drive00/frame", suffix=".png")
    first, second = (path.relative_to(tmp_path) for path in (jpg, png))
    assert letters(tmp_path) == {
        "train/drive00/frame": ("duplicate_key", f"{first} and {second} have one key, 'train/drive00/frame'")
    }


@pytest.mark.parametrize("kind", ["broken link", "link loop", "fifo", "folder"])
def test_what_is_no_readable_file_is_a_dead_letter(tmp_path, kind):
    image, _ = write_street(tmp_path, "train/drive00/frame")
    image.unlink()
    if kind == "broken link":
        image.symlink_to(tmp_path / "nowhere")
    elif kind == "link loop":
        image.symlink_to(image)
    elif kind == "fifo":
        os.mkfifo(image)
    else:
        image.mkdir()
    code, message = letters(tmp_path)["train/drive00/frame"]
    assert code == ("file_unreadable" if "link" in kind else "not_a_file")
    assert message.startswith(f"{image.relative_to(tmp_path)}: ")


def test_a_link_to_a_file_is_followed(tmp_path):
    image, _ = write_street(tmp_path / "in", "train/drive00/frame")
    os.rename(image, tmp_path / "elsewhere.jpg")
    image.symlink_to(tmp_path / "elsewhere.jpg")
    assert len(scan(tmp_path / "in").pairs) == 1


def test_names_with_special_characters_are_names(tmp_path):
    names = ["a b", "[x]*?", "100%", "zwei\nzeilen", "e\u0301", "\u00e9"]
    for number, name in enumerate(names):
        write_street(tmp_path, f"train/drive00/{name}", seed=number)
    pairs, dead, *_ = scan(tmp_path)
    assert sorted(pair.key for pair in pairs) == sorted(f"train/drive00/{name}" for name in names)
    assert dead == []


def test_hidden_folders_and_links_to_folders_are_left_out(tmp_path):
    make_streets(tmp_path, splits={"train": 1})
    write_street(tmp_path / ".cache", "train/drive00/hidden")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(scan(tmp_path).pairs) == 1
    assert all(not path.startswith((".", "loop/")) for path in list_files(tmp_path))


def test_a_folder_that_is_missing_a_file_or_empty_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError) as caught:
        scan(tmp_path / "no")
    assert str(caught.value) == f"--input {tmp_path / 'no'}: no such folder"
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError) as caught:
        scan(tmp_path / "file.txt")
    assert str(caught.value) == f"--input {tmp_path / 'file.txt'}: not a folder"
    with pytest.raises(UserError) as caught:
        scan(tmp_path)
    assert str(caught.value) == f"--input {tmp_path}: no images found (.jpg, .jpeg, .png, .bmp, .webp) in 1 files"


@pytest.mark.parametrize(
    ("key", "split", "group"),
    [
        ("train/drive00/frame", "train", "train/drive00"),
        ("Training/a", "train", "Training"),
        ("valid/a/b/c", "val", "valid/a/b"),
        ("test/a", "test", "test"),
        ("train_extra/a", None, "train_extra"),
        ("train", None, ""),
        ("drive00/train/frame", "train", "drive00/train"),
        ("100k/val2017/frame", "val", "100k/val2017"),
    ],
)
def test_the_first_folder_that_bears_a_splits_name_is_it_and_all_folders_are_the_group(key, split, group):
    assert split_of(key) == split
    assert group_of(key) == group


def test_a_split_without_any_annotation_is_left_out_and_counted(tmp_path):
    make_streets(tmp_path, splits={"train": 2, "test": 3})
    for path in (tmp_path / "gtFine" / "test").rglob("*.json"):
        path.unlink()
    found = scan(tmp_path)
    assert len(found.pairs) == 2
    assert found.dead_letters == []
    assert dict(found.left_out) == {"test": 3}

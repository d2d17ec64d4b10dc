"""List files decide the splits, name every mistake, and leave the rest out."""

import pytest

from beam_jobs.scan import scan
from beam_jobs.splits import assign_splits
from configs.commands import UserError
from tests.streets import make_streets


@pytest.fixture
def pairs(tmp_path):
    return scan(make_streets(tmp_path / "streets", splits={"": 4}, drives=1)).pairs


def listed(pairs, tmp_path, **lists):
    paths = {}
    for split, text in lists.items():
        paths[split] = tmp_path / f"{split}.txt"
        paths[split].write_text(text)
    return {split: [pair.key for pair in found] for split, found in assign_splits(pairs, "s", 0.15, paths).items()}


def test_a_line_is_a_key_an_image_path_or_a_bare_name_and_the_rest_is_left_out(pairs, tmp_path):
    train = "# my split\ndrive00/frame0000\n\nleftImg8bit/drive00/frame0001_leftImg8bit.jpg\n"
    assert listed(pairs, tmp_path, train=train, val="frame0003\nframe0003\n") == {
        "train": ["drive00/frame0000", "drive00/frame0001"],
        "val": ["drive00/frame0003"],
    }


def test_a_name_that_is_not_there_is_named_with_its_line_and_the_nearest(pairs, tmp_path):
    with pytest.raises(UserError, match=r"train.txt, line 2: 'frame0009' is no image .*did you mean 'frame000\d'"):
        listed(pairs, tmp_path, train="frame0000\nframe0009\n")


def test_an_image_in_two_lists_is_refused(pairs, tmp_path):
    with pytest.raises(UserError, match=r"val.txt, line 1: 'frame0001' stands in the list of split train too"):
        listed(pairs, tmp_path, train="frame0001", val="frame0001")


def test_a_bare_name_of_two_images_is_refused(tmp_path):
    two = scan(make_streets(tmp_path / "two", splits={"a": 1, "b": 1}, drives=1)).pairs
    with pytest.raises(UserError, match="line 1: 'frame0000' could be several images"):
        listed(two, tmp_path, train="frame0000")


def test_a_missing_list_is_named(pairs, tmp_path):
    with pytest.raises(UserError, match=r"split_lists.val = .*no.txt: cannot be read"):
        assign_splits(pairs, "s", 0.15, {"val": tmp_path / "no.txt"})

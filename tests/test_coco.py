"""Tests of the COCO reader: parts, run-length masks, ids, real folder layouts, and all that is refused."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import numpy as np
import pytest

from beam_jobs.annotation import BadInput
from beam_jobs.formats import coco
from beam_jobs.scan import scan
from configs.commands import UserError
from tests.folders import DEEP, keys, letters, masks, refused, write_images, write_json

CAR, ROAD, IGNORED = 8, 3, 255
CATEGORIES = [{"id": 1, "name": "road"}, {"id": 7, "name": "car"}]
BOX = [10, 5, 19, 5, 19, 14, 10, 14]


def image(own_id: object, name: object, **more: object) -> dict[str, object]:
    return {"id": own_id, "file_name": name, "height": 48, "width": 64, **more}


def entry(image_id: object, segmentation: object, category: object = 7, **more: object) -> dict[str, object]:
    return {"id": 1, "image_id": image_id, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def document(images: object, annotations: object, categories: object = CATEGORIES) -> dict[str, object]:
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def inline(*objects: object, **changes: object) -> dict[str, object]:
    return {"height": 48, "width": 64, "objects": list(objects), **changes}


def part(segmentation: object, **changes: object) -> dict[str, object]:
    return {"number": 4, "category": 7, "labels": ["car"], "segmentation": segmentation, **changes}


def read(*objects: object):
    return coco.read(json.dumps(inline(*objects)).encode())


def test_parts_are_polygons_of_their_own_and_not_one_ring():
    found = read(part([BOX, [40, 5, 49, 5, 49, 14, 40, 14]]))
    assert [(one.number, one.label, len(one.polygon)) for one in found.shapes] == [(4, "car", 4), (4, "car", 4)]
    np.testing.assert_array_equal(found.shapes[0].polygon, np.reshape(BOX, (4, 2)))


def test_between_two_parts_nothing_is_painted(tmp_path):
    parts = [BOX, [40, 5, 49, 5, 49, 14, 40, 14]]
    write_json(write_images(tmp_path, "a.png"), "a.json", document([image(1, "a.png")], [entry(1, parts)]))
    expected = np.full((48, 64), IGNORED)
    expected[5:15, 10:20] = expected[5:15, 40:50] = CAR
    np.testing.assert_array_equal(masks(tmp_path)["a"], expected)


RING = np.array([[0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)
RUNS = [4, 5, 2, 5, 4]
"""Down the columns of `RING`: four 0; four 1 and one more; two 0, the hole; one 1 and four more; four 0."""
COMPRESSED = "45202"
"""A character is its number from "0" on. The last two are differences to the run before the last: 5 − 5, 4 − 2."""


@pytest.mark.parametrize("counts", [RUNS, COMPRESSED])
def test_a_run_length_mask_may_have_a_hole(counts):
    np.testing.assert_array_equal(coco.decode_rle(0, "car", {"size": [4, 5], "counts": counts}, (4, 5)), RING)


def test_what_lies_in_a_masks_hole_stays(tmp_path):
    under = entry(1, [[0, 0, 4, 0, 4, 3, 0, 3]], 1)
    over = entry(1, {"size": [4, 5], "counts": COMPRESSED}, iscrowd=1)
    write_images(tmp_path, "a.png", size=(4, 5))
    write_json(tmp_path, "a.json", document([image(1, "a.png", height=4, width=5)], [under, over]))
    np.testing.assert_array_equal(masks(tmp_path)["a"], np.where(RING, CAR, ROAD))


@pytest.mark.parametrize(
    ("counts", "pixels"),
    [([20], 0), ("d0", 0), ([0, 20], 20), ("0d0", 20), ([0, 0, 20], 0), ([19, 1], 1)],
    # 20 is 10100 in binary, whose top bit would mean minus: so it takes two characters, 20 + 32 + 48 = "d" and "0".
)
def test_empty_runs_and_long_ones_are_read(counts, pixels):
    found = coco.decode_rle(0, "car", {"size": [4, 5], "counts": counts}, (4, 5))
    assert found.shape == (4, 5)
    assert found.sum() == pixels


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_those_of_pycocotools(seed):
    tool = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    height, width = int(random.integers(1, 200)), int(random.integers(201, 400))
    expected = np.asfortranarray(random.random((height, width)) < random.choice([0.001, 0.5, 0.999]), np.uint8)
    value = tool.encode(expected)
    compressed = {"size": value["size"], "counts": value["counts"].decode()}
    np.testing.assert_array_equal(coco.decode_rle(0, "x", compressed, (height, width)), expected)


def test_objects_without_segmentation_points_are_counted():
    found = read(part([]), part([BOX]))
    assert (len(found.shapes), found.counts["objects_without_polygon"]) == (1, 1)


def test_an_image_without_annotations_is_all_canvas(tmp_path):
    write_json(write_images(tmp_path, "a.png", "b.png"), "x.json", document([image(1, "a.png"), image(2, "b.png")], []))
    assert letters(tmp_path) == []
    assert {key: set(mask.ravel()) for key, mask in masks(tmp_path).items()} == {"a": {IGNORED}, "b": {IGNORED}}


def test_objects_are_painted_in_the_files_order_whatever_their_ids(tmp_path):
    whole = [[0, 0, 63, 0, 63, 47, 0, 47]]
    entries = [entry(1, whole, 1, id=9), entry(2, whole), entry(1, [BOX], id=3)]
    write_images(tmp_path, "a.png", "b.png")
    write_json(tmp_path, "x.json", document([image(1, "a.png"), image(2, "b.png")], entries))
    found = masks(tmp_path)
    assert np.unique(found["a"], return_counts=True)[1].tolist() == [48 * 64 - 100, 100]
    assert set(found["b"].ravel()) == {CAR}


def test_image_annotators_own_coco_has_ids_as_text_and_parts_without_brackets(tmp_path):
    """VIA's export: ``"image_id": "1"`` for the image of id 1, and ``"segmentation": [x, y, ...]``."""
    value = document([image(1, "a.png")], [entry("1", BOX, "7"), entry(1.0, BOX, 7.0)])
    write_json(write_images(tmp_path, "a.png"), "via_export_coco.json", value)
    assert scan(tmp_path).format == "coco"
    assert (masks(tmp_path)["a"] == CAR).sum() == 100


def test_a_numbers_objects_are_those_of_the_file():
    annotations = [entry(2, [BOX]), entry(1, [BOX])]
    found = coco._objects_by_image(annotations, coco._labels_by_id(CATEGORIES))
    assert [one["number"] for one in found["1"]] == [1]


def test_splits_come_from_the_files_names_and_from_folders(tmp_path):
    write_images(tmp_path, "train2017/000.jpg", "val2017/000.jpg", "val2017/001.jpg")
    write_json(tmp_path, "annotations/instances_train2017.json", document([image(1, "000.jpg")], []))
    write_json(tmp_path, "annotations/instances_val2017.json", document([image(1, "000.jpg"), image(2, "001.jpg")], []))
    assert keys(tmp_path) == ["train2017/000", "val2017/000", "val2017/001"]


def test_images_in_one_folder_get_the_split_of_the_file_that_names_them(tmp_path):
    write_images(tmp_path, "images/COCO_val2014_1.jpg", "images/b.jpg")
    write_json(tmp_path, "train.json", document([image(1, "b.jpg")], []))
    write_json(tmp_path, "val.json", document([image(1, "COCO_val2014_1.jpg")], []))
    assert keys(tmp_path) == ["train/b", "val/COCO_val2014_1"]


def test_a_file_in_each_splits_folder_means_the_images_beside_it(tmp_path):
    write_images(tmp_path, "train/a.jpg", "valid/a.jpg")
    for split in ("train", "valid"):
        write_json(tmp_path, f"{split}/_annotations.coco.json", document([image(0, "a.jpg")], []))
    assert keys(tmp_path) == ["train/a", "valid/a"]
    assert letters(tmp_path) == []


def test_files_of_cocos_other_tasks_are_left_alone(tmp_path):
    """They name the same images once more."""
    images = [image(1, "a.jpg")]
    write_images(tmp_path, "val2017/a.jpg")
    write_json(tmp_path, "annotations/captions_val2017.json", {"images": images, "annotations": [{"caption": "a car"}]})
    write_json(tmp_path, "annotations/instances_val2017.json", document(images, [entry(1, [BOX])]))
    people = [{"id": 1, "name": "person", "keypoints": ["nose"], "skeleton": []}]
    write_json(tmp_path, "annotations/person_keypoints_val2017.json", document(images, [], people))
    panoptic = [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1}]}]
    write_json(tmp_path, "annotations/panoptic_val2017.json", document(images, panoptic))
    assert (keys(tmp_path), letters(tmp_path)) == (["val2017/a"], [])


@pytest.mark.parametrize(
    "value", [None, [], {}, "x", 3, {"images": [], "annotations": []}, {**document([], []), "images": {}}]
)
def test_other_json_is_not_recognized(value):
    assert not coco.recognizes(PurePosixPath("instances_val2017.json"), value)


FILE = "x/instances.json"


def in_a_file(tmp_path, value):
    write_images(tmp_path, "a.jpg", "b.jpg")
    return letters(write_json(tmp_path, FILE, value))


def test_two_entries_for_one_image_are_both_refused_for_neither_has_all_objects(tmp_path):
    images = [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "a.jpg")]
    assert in_a_file(tmp_path, document(images, [])) == [
        ("a", "duplicate_key", f"a.jpg: stands in {FILE} and again in {FILE}"),
    ]
    assert keys(tmp_path) == ["b"]


def test_two_images_of_one_id_are_both_refused(tmp_path):
    images = [image(1, "a.jpg"), image("1", "b.jpg"), image(2, "b.jpg")]
    assert in_a_file(tmp_path, document(images, [])) == [
        ("a", "no_annotation", "a.jpg: there is no annotation for this image"),
        (f"{FILE}#0", "image_entry", f'{FILE}: image 0 has id "1", which stands twice'),
        (f"{FILE}#1", "image_entry", f'{FILE}: image 1 has id "1", which stands twice'),
    ]
    assert keys(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (None, "null"),
        ({}, "{}"),
        ({"id": 1, "file_name": None}, '{"id": 1, "file_name": null}'),
        ({"id": None, "file_name": "a.jpg"}, '{"id": null, "file_name": "a.jpg"}'),
        ({"id": [1], "file_name": "a.jpg"}, '{"id": [1], "file_name": "a.jpg"}'),
        ({"id": True, "file_name": "a.jpg"}, '{"id": true, "file_name": "a.jpg"}'),
        ({"id": 1.5, "file_name": "a.jpg"}, '{"id": 1.5, "file_name": "a.jpg"}'),
    ],
)
def test_a_damaged_entry_costs_its_own_image_only(tmp_path, wrong, found):
    assert in_a_file(tmp_path, document([wrong, image(2, "b.jpg")], [])) == [
        ("a", "no_annotation", "a.jpg: there is no annotation for this image"),
        (f"{FILE}#0", "image_entry", f"{FILE}: image 0 has no file_name or no id: {found}"),
    ]
    assert keys(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        (None, "null"),
        ({"image_id": 99}, '{"image_id": 99}'),
        ({"image_id": None}, '{"image_id": null}'),
        ({"image_id": [1]}, '{"image_id": [1]}'),
    ],
)
def test_objects_of_no_image_are_told(tmp_path, wrong, shown):
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    message = f"{FILE}: 2 of the objects are of no image in the file: object 1 is {shown}"
    assert in_a_file(tmp_path, document(images, [entry(1, [BOX]), wrong, wrong])) == [
        (f"{FILE}#annotations", "object_without_image", message)
    ]


def test_categories_that_are_no_categories_cost_only_the_objects_that_need_them(tmp_path):
    categories = [None, {"id": [1], "name": "x"}, {"name": "y"}, {"id": 1}, *CATEGORIES, {"id": 7, "name": "car"}]
    write_images(tmp_path, "a.png")
    write_json(tmp_path, FILE, document([image(1, "a.png")], [entry(1, [BOX])], categories))
    assert (masks(tmp_path)["a"] == CAR).sum() == 100


def test_a_file_that_is_no_json_stops_the_build_when_there_is_no_other(tmp_path):
    write_json(write_images(tmp_path, "a.jpg"), "a.json", b'{"images": [')
    with pytest.raises(UserError, match=r"--input .*a\.json: not JSON in UTF-8"):
        scan(tmp_path, "coco")
    write_json(write_images(tmp_path, "b.jpg"), "b.json", document([image(1, "b.jpg")], []))
    assert [code for _, code, _ in letters(tmp_path, "coco")] == ["no_annotation", "annotation_not_json"]
    assert keys(tmp_path) == ["b"]


@pytest.mark.parametrize(("value", "text"), [(10**400, "10000"), (float("nan"), "NaN"), ("\ud800", r'"\ud800"')])
def test_values_that_json_hardly_holds_reach_the_reader_as_they_are(tmp_path, value, text):
    write_json(write_images(tmp_path, "a.jpg"), "a.json", document([image(1, "a.jpg", height=value)], []))
    (pair,) = scan(tmp_path).pairs
    with pytest.raises(BadInput) as caught:
        coco.read(json.dumps({**json.loads(pair.inline), "width": -1}).encode())
    assert caught.value.code == "annotation_size"
    assert text in pair.inline


CAR_4 = "object 4 ('car')"
RLE = {"size": [48, 64], "counts": [48 * 64]}
SUM = "its runs do not add up to the 3072 pixels of the image"
WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (DEEP.encode(), "annotation_too_deep", "brackets are nested deeper than 200"),
    ([], "annotation_not_object", "the image's entry: expected a JSON object, found a list"),
    ({}, "annotation_size", "height is missing"),
    (inline(width=None), "annotation_size", "width is missing"),
    (inline(width=-64), "annotation_size", "width is -64"),
    (inline(objects=None), "no_objects", "'objects' is missing"),
    (inline(3), "annotation_not_object", "entry 0: expected a JSON object, found a number"),
    (inline({}), "no_objects", "'labels' is missing"),
    (
        inline(part([BOX], labels=[])),
        "category_missing",
        "object 4 has category_id 7, which is not in categories",
    ),
    (
        inline(part([BOX], labels=["car", "van"])),
        "category_twice",
        'object 4 has category_id 7, which stands twice in categories: ["car", "van"]',
    ),
    (inline(part([BOX], labels=[None])), "label_not_text", "object 4 has label null, which is not text"),
    (inline(part(None)), "polygon_not_list", f"{CAR_4}: segmentation is missing"),
    (inline(part("x")), "polygon_not_list", f"{CAR_4}: segmentation is text"),
    (inline(part([None])), "polygon_points", f"{CAR_4}: null is not a list [x, y, x, y, ...]"),
    (inline(part([[1, 2, 3]])), "polygon_points", f"{CAR_4}: [1, 2, 3] is not a list [x, y, x, y, ...]"),
    (inline(part([[1, "2"]])), "polygon_points", f'{CAR_4}: [1, "2"] is not a point [x, y] of two numbers'),
    (
        inline(part([[[1, 2], [3, 4]]])),
        "polygon_points",
        f"{CAR_4}: [[1, 2], [3, 4]] is not a point [x, y] of two numbers",
    ),
    (inline(part([[1, float("inf")]])), "coordinate_not_finite", f"{CAR_4}: point [1, Infinity] is not finite"),
    (inline(part({})), "mask_size", f"{CAR_4}: its mask has size null, the image [48, 64]"),
    (inline(part({**RLE, "size": [64, 48]})), "mask_size", f"{CAR_4}: its mask has size [64, 48], the image [48, 64]"),
    (inline(part({**RLE, "counts": None})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": []})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": [3071]})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": [4000, -928]})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": [3071, True]})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": [3072.0]})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": "~"})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": "o" * 3000})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": "PPo"})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (inline(part({**RLE, "counts": "\ud800"})), "mask_damaged", f"{CAR_4}: {SUM}"),
    (
        inline(part({"size": [10**5, 10**5], "counts": [10**10]}), height=10**5, width=10**5),
        "mask_too_large",
        "masks (1) of size [100000, 100000] have more than 1073741824 pixels",
    ),
    (
        inline(*[part({"size": [10**4, 10**4], "counts": [10**8]})] * 11, height=10**4, width=10**4),
        "mask_too_large",
        "masks (11) of size [10000, 10000] have more than 1073741824 pixels",
    ),
]


@pytest.mark.parametrize(("value", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(value, code, message):
    assert refused("coco", value) == (code, message)


def test_codes_of_the_reader_reach_a_scanned_pair(tmp_path):
    categories = [*CATEGORIES, {"id": 8, "name": "van"}, {"id": 8, "name": "bus"}]
    images = [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "c.jpg")]
    entries = [entry(1, [BOX], 99), entry(2, [BOX], 8), entry(3, [BOX], [7])]
    write_images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    write_json(tmp_path, FILE, document(images, entries, categories))
    codes = []
    for pair in scan(tmp_path).pairs:
        with pytest.raises(BadInput) as caught:
            coco.read(pair.inline.encode())
        codes.append((caught.value.code, str(caught.value)))
    assert codes == [
        ("category_missing", "object 0 has category_id 99, which is not in categories"),
        ("category_twice", 'object 1 has category_id 8, which stands twice in categories: ["van", "bus"]'),
        ("category_missing", "object 2 has category_id [7], which is not in categories"),
    ]

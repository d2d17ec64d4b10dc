"""Our masks against those of Cityscapes' own tools, pixel for pixel, and IDD's table label by label.

The golden masks come from ``cityscapesscripts`` (tests/data/make_golden_cityscapes.py says how, and where the tools and
we differ on purpose).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats import cityscapes
from beam_jobs.rasterize import rasterize
from configs.taxonomy import load_taxonomy

FOLDER = Path(__file__).parent / "data" / "cityscapes"
ANNOTATIONS = sorted(FOLDER.glob("*_gtFine_polygons.json"))
CITYSCAPES = load_taxonomy("cityscapes19")
IDD = load_taxonomy("idd21")


def scene_of(path: Path) -> str:
    return path.name.partition("_gtFine")[0]


def golden_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path.with_name(f"{scene_of(path)}_gtFine_labelTrainIds.png")))


def test_all_scenes_are_there_and_hold_every_class():
    assert [scene_of(path) for path in ANNOTATIONS] == [
        *("crowd", "deleted", "every_label", "groups", "half_pixels", "license_plates", "odd_outlines", "outside")
    ]
    found = {int(value) for path in ANNOTATIONS for value in np.unique(golden_of(path))}
    assert found == {*range(19), 255}
    assert all(golden.shape[0] != golden.shape[1] for golden in map(golden_of, ANNOTATIONS))


@pytest.mark.parametrize("path", ANNOTATIONS, ids=scene_of)
def test_masks_are_those_of_cityscapes_own_tools(path):
    annotation = cityscapes.read(path.read_bytes())
    assert annotation.height is not None
    assert annotation.width is not None
    mask = rasterize(annotation, (annotation.height, annotation.width), CITYSCAPES).ids
    np.testing.assert_array_equal(mask, golden_of(path))


# The table of public course notebooks for IDD, row by row: class id → labels.
IDD_TABLE = {
    0: ("unlabeled", "out of roi"),
    1: ("road",),
    2: ("parking", "drivable fallback"),
    3: ("sidewalk",),
    4: ("non-drivable fallback", "rail track"),
    5: ("person", "animal"),
    6: ("rider",),
    7: ("motorcycle", "bicycle"),
    8: ("autorickshaw", "car"),
    9: ("truck", "bus", "vehicle fallback", "trailer", "caravan"),
    10: ("curb", "wall"),
    11: ("fence", "guard rail"),
    12: ("billboard", "traffic sign", "traffic light"),
    13: ("pole", "polegroup", "obs-str-bar-fallback"),
    14: ("building", "bridge", "tunnel"),
    15: ("vegetation",),
    16: ("sky", "fallback background"),
    17: ("ego vehicle",),
    18: ("ground",),
    19: ("rectification border",),
    20: ("train",),
}
IDD_LABELS = [(label, class_id) for class_id, labels in IDD_TABLE.items() for label in labels]
BOX = np.array([(10.0, 4.0), (19.0, 4.0), (19.0, 8.0), (10.0, 8.0)])
"""Columns 10 to 19, rows 4 to 8: 50 pixels."""


def idd_mask(*labels: str) -> np.ndarray:
    """One box, drawn with each of the labels in turn, in 48x64."""
    shapes = [Shape(number, label, BOX) for number, label in enumerate(labels)]
    return rasterize(Annotation(48, 64, shapes), (48, 64), IDD).ids


def test_idds_table_is_whole():
    # 40 labels in 21 classes; a license plate is in IDD's files and in no row.
    assert (len(IDD_LABELS), len(IDD.classes)) == (40, 21)
    assert set(IDD.labels) == {*dict(IDD_LABELS), "license plate"}


@pytest.mark.parametrize(("label", "class_id"), IDD_LABELS, ids=[label for label, _ in IDD_LABELS])
def test_an_idd_label_is_drawn_as_its_class(label, class_id):
    mask = idd_mask("sky" if class_id != 16 else "road", label)
    assert (mask[4:9, 10:20] == class_id).all()
    assert (mask == 0).sum() == 48 * 64 - (50 if class_id else 0)  # the canvas of idd21 is class 0


def test_an_idd_license_plate_leaves_what_is_beneath():
    np.testing.assert_array_equal(idd_mask("car", "license plate"), idd_mask("car"))
    assert not idd_mask("license plate").any()


@pytest.mark.parametrize(("label", "class_id"), [("cargroup", 8), ("persongroup", 5), ("polegroup", 13)])
def test_an_idd_group_is_its_member_but_polegroup_has_a_row_of_its_own(label, class_id):
    assert idd_mask(label)[6, 15] == class_id


def test_a_label_outside_idds_table_is_bad_input():
    with pytest.raises(BadInput, match="object 0 has label 'terrain', which taxonomy idd21 lacks"):
        idd_mask("terrain")

"""Tests of drawing polygons: who wins where, what is not drawn, and a PNG that every reader takes for the ids."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.options import BuildOptions
from beam_jobs.rasterize import fit_mask, rasterize
from configs.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "name": "small",
        "classes": [{"name": name, "color": [0, 0, 0]} for name in ("sky", "car", "road")],
        "labels": {"sky": "sky", "car": "car", "road": "road", "void": "ignore", "license plate": "skip"},
    }
)


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def draw(*shapes: tuple[str, list], taxonomy: Taxonomy = TAXONOMY, unknown: str = "error") -> np.ndarray:
    annotation = Annotation(
        48, 64, [Shape(n, label, np.array(points, float).reshape(-1, 2)) for n, (label, points) in enumerate(shapes)]
    )
    mask = rasterize(annotation, (48, 64), taxonomy, BuildOptions(unknown_labels=unknown))
    np.testing.assert_array_equal(np.asarray(mask.picture), mask.ids)  # they share their memory
    return mask.ids


def test_a_mask_is_height_by_width_with_edges_in_the_polygon():
    mask = draw(("car", box(10, 4, 19, 8)))
    assert (mask.shape, mask.dtype) == ((48, 64), np.uint8)
    # Columns 10..19 and rows 4..8, both ends included: 10 · 5 = 50 pixels; all others are canvas.
    assert (mask[4:9, 10:20] == 1).all()
    assert (mask == 1).sum() == 50
    assert (mask == 255).sum() == 48 * 64 - 50


def test_the_later_polygon_wins():
    first, second = ("road", box(0, 0, 20, 20)), ("car", box(10, 10, 30, 30))
    assert draw(first, second)[15, 15] == 1
    assert draw(second, first)[15, 15] == 2


def test_ignored_labels_are_drawn_as_255_and_skipped_ones_leave_what_is_beneath():
    mask = draw(("road", box(0, 0, 40, 40)), ("void", box(5, 5, 9, 9)), ("license plate", box(20, 20, 29, 29)))
    assert (mask[5:10, 5:10] == 255).all()
    assert (mask[20:30, 20:30] == 2).all()


def test_the_canvas_may_be_a_class():
    mask = draw(("car", box(10, 4, 19, 8)), taxonomy=TAXONOMY.model_copy(update={"canvas": "road"}))
    assert sorted(np.unique(mask)) == [1, 2]


@pytest.mark.parametrize("points", [[], [(5, 5)], [(5, 5), (20, 20)]])
def test_fewer_than_three_points_cover_nothing_and_are_counted(points):
    annotation = Annotation(48, 64, [Shape(0, "car", np.array(points, float).reshape(-1, 2))])
    mask = rasterize(annotation, (48, 64), TAXONOMY)
    assert mask.counts["objects_with_few_points"] == 1
    assert (np.asarray(mask.picture) == 255).all()


def test_three_equal_or_collinear_points_cover_what_pillow_draws():
    # CamVid's traced polygons repeat points up to three: a pixel or a line is drawn.
    assert np.argwhere(draw(("car", [(5, 6)] * 3)) == 1).tolist() == [[6, 5]]
    assert (draw(("car", [(5, 6), (7, 6), (9, 6)])) == 1).sum() == 5


def test_a_polygon_outside_the_image_is_cut():
    mask = draw(("car", box(-1000, -1000, 3, 2)), ("road", box(500, 500, 600, 600)), ("sky", box(60, 40, 1e6, 1e6)))
    assert (mask == 1).sum() == 4 * 3  # columns 0..3, rows 0..2
    assert (mask == 0).sum() == 4 * 8  # columns 60..63, rows 40..47
    assert not (mask == 2).any()


def test_the_first_point_repeated_at_the_end_changes_nothing():
    ring = box(10, 4, 19, 8)
    np.testing.assert_array_equal(draw(("car", ring)), draw(("car", [*ring, ring[0]])))


def test_an_unknown_label_is_bad_input_ignored_or_not_drawn():
    shapes = (("road", box(0, 0, 40, 40)), ("roed", box(5, 5, 9, 9)))
    with pytest.raises(BadInput) as caught:
        draw(*shapes)
    assert caught.value.code == "unknown_label"
    assert str(caught.value) == (
        "object 1 has label 'roed', which taxonomy small lacks; did you mean 'road'? "
        "Add it to its file or pass --unknown-labels ignore"
    )
    assert draw(*shapes, unknown="ignore")[7, 7] == 255
    assert draw(*shapes, unknown="skip")[7, 7] == 2


def test_unknown_labels_are_counted():
    annotation = Annotation(48, 64, [Shape(0, "x", np.array(box(0, 0, 9, 9)))] * 3)
    assert (
        rasterize(annotation, (48, 64), TAXONOMY, BuildOptions(unknown_labels="ignore")).counts[
            "objects_with_unknown_label"
        ]
        == 3
    )


def test_a_resized_mask_is_nearest_and_filled_with_255():
    mask = draw(("car", box(0, 0, 31, 47)), ("road", box(32, 0, 63, 47)))  # left half 1, right half 2
    fitted = np.asarray(fit_mask(Image.fromarray(mask), (24, 32), (32, 40)))
    assert fitted.shape == (32, 40)
    assert (fitted[:24, :16] == 1).all()
    assert (fitted[:24, 16:32] == 2).all()
    assert (fitted[24:] == 255).all()
    assert (fitted[:, 32:] == 255).all()
    assert fit_mask(Image.fromarray(mask), (24, 32), (24, 32)).size == (32, 24)


def test_a_mask_made_smaller_by_majority_takes_the_id_that_covers_most():
    # Each 2x2 block of the left half holds three 7s and a 3; nearest takes the block's lower right pixel, the 3.
    mask = np.full((48, 64), 5, np.uint8)
    mask[:, :32] = np.tile(np.array([[7, 7], [7, 3]], np.uint8), (24, 16))
    picture = Image.fromarray(mask)
    assert (np.asarray(fit_mask(picture, (24, 32), (24, 32)))[:, :16] == 3).all()
    majority = np.asarray(fit_mask(picture, (24, 32), (24, 32), majority=True))
    assert (majority[:, :16] == 7).all()
    assert (majority[:, 16:] == 5).all()


def test_polygons_of_another_size_are_scaled_to_the_image():
    half = Annotation(24, 32, [Shape(0, "car", np.array(box(5, 2, 9, 4)))])
    whole = Annotation(48, 64, [Shape(0, "car", np.array(box(10, 4, 18, 8)))])
    scaled, expected = (np.asarray(rasterize(a, (48, 64), TAXONOMY).picture) for a in (half, whole))
    np.testing.assert_array_equal(scaled, expected)


def test_what_is_odd_but_good_is_counted():
    group = Shape(0, "cargroup", np.array(box(1, 1, 9, 9)))
    outside = Shape(1, "car", np.array(box(50, 40, 99, 99)))
    at_the_border = Shape(2, "car", np.array(box(0, 0, 64, 48)))
    counts = rasterize(Annotation(48, 64, [group, outside, at_the_border]), (48, 64), TAXONOMY).counts
    assert counts["objects_of_groups"] == 1
    assert counts["objects_reaching_outside"] == 1


def test_policies_turn_what_is_odd_into_bad_input():
    line = Annotation(48, 64, [Shape(4, "car", np.array([(1.0, 1.0), (5.0, 5.0)]))])
    with pytest.raises(BadInput, match=r"object 4 \('car'\): a polygon of 2 points covers nothing") as caught:
        rasterize(line, (48, 64), TAXONOMY, BuildOptions(few_points="error"))
    assert caught.value.code == "few_points"
    group = Annotation(48, 64, [Shape(0, "cargroup", np.array(box(1, 1, 9, 9)))])
    with pytest.raises(BadInput, match="object 0 has label 'cargroup', which taxonomy small lacks"):
        rasterize(group, (48, 64), TAXONOMY, BuildOptions(group_labels="unknown"))

"""The report of a split: its means, and the taxonomy's coarser levels."""

import numpy as np
import pytest

from configs.taxonomy import Taxonomy, load_taxonomy


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def mixed_up(taxonomy, *pairs):
    """Ten pixels of each class, all right but those of the (truth, prediction) pairs, all wrong."""
    names = taxonomy.class_names
    counts = np.diag(np.full(len(names), 10))
    for truth, predicted in pairs:
        counts[names.index(truth), names.index(truth)] = 0
        counts[names.index(truth), names.index(predicted)] = 10
    return counts


def test_a_class_taken_for_its_sibling_is_right_one_level_up():
    from model.evaluate import coarser_levels

    taxonomy = load_taxonomy("cityscapes19")
    ((level, names, counts),) = coarser_levels(mixed_up(taxonomy, ("bus", "truck"), ("rider", "car")), taxonomy)
    assert level == "cityscapes_categories"
    vehicle, human = names.index("vehicle"), names.index("human")
    assert counts[vehicle, vehicle] == 60  # car, truck, bus, train, motorcycle, bicycle
    assert (counts[human, human], counts[human, vehicle]) == (10, 10)
    assert counts.sum() == 190


def test_levels_follow_each_other_up_to_the_coarsest():
    from model.evaluate import coarser_levels

    taxonomy = load_taxonomy("idd_level4")
    levels = list(coarser_levels(mixed_up(taxonomy), taxonomy))
    assert [level for level, _, _ in levels] == ["idd_level3", "idd_level2", "idd_level1"]
    for _, names, counts in levels:
        assert counts.shape == (len(names), len(names))
        assert np.trace(counts) == counts.sum() == 10 * len(taxonomy.classes)


def test_a_level_of_the_users_own_file_is_known_by_the_parents_names():
    from model.evaluate import coarser_levels

    classes = [{"name": n, "color": (0, 0, i), "parent": p} for i, (n, p) in enumerate(["ax", "by", "cx"])]
    taxonomy = Taxonomy(name="mine", coarser="coarse.yaml", classes=classes, labels={})
    ((level, names, counts),) = coarser_levels(np.diag([1, 2, 3]), taxonomy)
    assert (level, names, counts.tolist()) == ("coarse.yaml", ["x", "y"], [[4, 0], [0, 2]])


def test_the_report_holds_every_mean_under_its_own_name():
    from model.evaluate import make_report
    from model.scoring import Score

    taxonomy = load_taxonomy("cityscapes19")
    score = Score(mixed_up(taxonomy, ("bus", "truck")), loss=0.5, iou_score=0.25)
    report = make_report(score, np.full(19, 0.75), taxonomy)
    # 17 classes are right; truck has 10 of 20, bus nothing.
    assert report["mean_iou"] == pytest.approx((17 + 0.5) / 19)
    assert report["frequency_weighted_iou"] == pytest.approx((17 + 0.5) / 19)
    assert report["mean_dice"] == pytest.approx((17 + 2 * 10 / 30) / 19)
    assert report["mean_class_accuracy"] == report["pixel_accuracy"] == pytest.approx(18 / 19)
    assert (report["loss"], report["iou_score"], report["mean_boundary_iou"]) == (0.5, 0.25, 0.75)
    assert report["coarser"]["cityscapes_categories"]["mean_iou"] == 1.0
    assert report["per_class_accuracy"]["bus"] == 0.0

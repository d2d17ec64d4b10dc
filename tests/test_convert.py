"""One pair to one record: policies of sizes and turns, and files that change under the build."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.convert import InputChanged, build_record
from beam_jobs.options import BuildOptions
from beam_jobs.plan import make_plan
from beam_jobs.scan import scan
from configs.taxonomy import load_taxonomy
from tests.streets import make_streets, write_street


def planned_pair(streets, **options):
    given = BuildOptions(input=streets, **options)
    plan = make_plan(scan(streets), streets, load_taxonomy("camvid11"), given, "")
    return plan, plan.shards[0].pairs[0]


def decoded(record):
    return np.asarray(Image.open(io.BytesIO(record.image))), np.asarray(Image.open(io.BytesIO(record.mask)))


def test_a_file_that_changed_since_the_plan_stops_the_build(tmp_path):
    streets = make_streets(tmp_path, splits={"train": 1})
    plan, pair = planned_pair(streets)
    os.utime(streets / pair.annotation, ns=(0, 1))
    with pytest.raises(InputChanged, match=rf"{os.path.basename(pair.annotation)} changed while the build ran"):
        build_record(plan, pair, full_decode=False)


def test_an_annotation_of_another_size_is_scaled_only_when_allowed(tmp_path):
    write_street(tmp_path, "train/a/x", (48, 64), image=Image.new("RGB", (128, 96)))
    plan, pair = planned_pair(tmp_path)
    with pytest.raises(BadInput, match=r"the image is 96x128, its annotation says 48x64") as caught:
        build_record(plan, pair, full_decode=False)
    assert caught.value.code == "size_differs"
    plan, pair = planned_pair(tmp_path, rescale_polygons=True)
    image, mask = decoded(build_record(plan, pair, full_decode=False).record)
    assert image.shape[:2] == mask.shape == (96, 128)


def test_an_exif_turn_is_done_only_where_polygons_mean_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (48, 64), (200, 30, 30)).save(buffer, "JPEG", exif=exif)  # shown turned: 48 high, 64 wide
    write_street(tmp_path, "train/a/x", (48, 64), image=buffer.getvalue())
    plan, pair = planned_pair(tmp_path)  # Cityscapes means the stored pixels, which are 64 high
    with pytest.raises(BadInput, match="the image is 64x48"):
        build_record(plan, pair, full_decode=False)
    plan, pair = planned_pair(tmp_path, exif="turn")
    built = build_record(plan, pair, full_decode=False)
    assert decoded(built.record)[0].shape == (48, 64, 3)
    assert built.counts["images_turned"] == built.counts["images_encoded_again"] == 1


def test_an_odd_image_is_converted_and_counted_or_refused(tmp_path):
    write_street(tmp_path, "train/a/x", image=Image.new("RGBA", (64, 48), (9, 8, 7, 100)), suffix=".png")
    plan, pair = planned_pair(tmp_path)
    built = build_record(plan, pair, full_decode=False)
    assert decoded(built.record)[0].shape == (48, 64, 3)
    assert built.counts["images_converted"] == 1
    plan, pair = planned_pair(tmp_path, odd_images="error")
    with pytest.raises(BadInput, match="image of mode RGBA") as caught:
        build_record(plan, pair, full_decode=False)
    assert caught.value.code == "image_odd"


def test_a_good_image_is_stored_byte_for_byte_even_when_its_levels_are_summed(tmp_path):
    streets = make_streets(tmp_path, splits={"train": 1})
    plan, pair = planned_pair(streets)
    for full_decode in (False, True):
        built = build_record(plan, pair, full_decode)
        assert built.record.image == (streets / pair.image).read_bytes()
        assert (built.channels is not None) == full_decode
    levels = decoded(built.record)[0].astype(np.int64)
    np.testing.assert_array_equal(built.channels[0], levels.sum(axis=(0, 1)))
    np.testing.assert_array_equal(built.channels[1], (levels**2).sum(axis=(0, 1)))


def test_bytes_after_the_end_and_a_wrong_suffix_are_counted(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    write_street(tmp_path, "train/a/x", image=buffer.getvalue() + b"trailer", suffix=".png")
    plan, pair = planned_pair(tmp_path)
    counts = build_record(plan, pair, full_decode=False).counts
    assert counts["images_with_bytes_after_the_end"] == counts["images_of_another_suffix"] == 1


def test_deleted_objects_are_left_out_or_drawn(tmp_path):
    box = [[10, 10], [40, 10], [40, 30], [10, 30]]
    objects = [{"label": "car", "polygon": box, "deleted": 1}]
    write_street(tmp_path, "train/a/x", objects=objects)
    plan, pair = planned_pair(tmp_path)
    built = build_record(plan, pair, full_decode=False)
    assert (decoded(built.record)[1] == 255).all()
    assert built.counts["objects_deleted"] == 1
    plan, pair = planned_pair(tmp_path, deleted_objects="draw")
    mask = decoded(build_record(plan, pair, full_decode=False).record)[1]
    assert (mask[10:31, 10:41] == 8).all()  # class 8 of camvid11 is car

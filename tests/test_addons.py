"""tensorflow-addons' image half: reached without its broken ``__init__``, and named clearly where it is missing."""

import importlib.util
import subprocess
import sys

import pytest

from tests.conftest import cli_environment

HAVE = importlib.util.find_spec("tensorflow_addons") is not None


@pytest.mark.skipif(not HAVE, reason="tensorflow-addons has no release for this Python")
def test_the_image_half_works_and_nothing_is_left_behind_in_keras():
    program = (
        "import sys; from pipelines import addons; color = addons.image_module('color_ops');"
        "import tensorflow as tf; assert 'keras.src.engine' not in sys.modules;"
        "flat = tf.fill([4, 6, 3], 90.0); assert float(tf.reduce_max(abs(color.sharpness(flat, 2.0) - 90))) == 0;"
        "print(addons.image_module('filters').gaussian_filter2d(flat).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=cli_environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(4, 6, 3)", done.stderr


def test_without_tensorflow_addons_an_operations_name_says_what_to_use_instead(tensorflow_ready, monkeypatch):
    from pipelines import addons, augment  # noqa: F401 - makes the operations known
    from pipelines.ops_base import OPERATIONS, read_operation

    monkeypatch.setattr(addons, "installed", lambda: False)
    for name, instead in (("tfa/equalize", "keras_cv/AutoContrast"), ("tfa/elastic", "augment.elastic")):
        with pytest.raises(ValueError, match=rf"{name} needs tensorflow-addons.*3\.12 and later; use .*{instead}"):
            read_operation({"op": name})
    theirs = [kind for name, kind in OPERATIONS.items() if name.startswith("tfa/")]
    assert len(theirs) == 4
    assert all(kind.instead for kind in theirs)


def test_a_package_that_is_not_there_is_told_by_name(tensorflow_ready, monkeypatch):
    from pipelines import addons

    monkeypatch.setattr(addons, "PACKAGE", "no_such_addons")
    assert not addons.installed()
    with pytest.raises(ModuleNotFoundError, match="no_such_addons"):
        addons.image_module("filters")

"""Augmentation as a whole: named recipes, and draws keyed on (seed, step, replica) on one device and on two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from configs.commands import UserError
from configs.loading import Config, dump_yaml, load_config
from tests.augmenting import HEIGHT, WIDTH, blocks, digest, noise_batch
from tests.conftest import REPOSITORY, cli_environment

NAMES = ["article", "light", "none", "street", "strong"]


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.fixture(scope="module", params=NAMES)
def compiled(request, tensorflow_ready):
    """(name, augmentation, a graph of it that takes images, masks, step and replica)."""
    from pipelines import addons
    from pipelines.random_key import RandomKey

    if request.param == "strong" and not addons.installed():
        pytest.skip("tensorflow-addons has no release for this Python")
    augmentation = make(recipe=request.param)

    graph = tensorflow_ready.function(
        lambda images, masks, step, replica: augmentation(images, masks, RandomKey(7, step, replica))
    )
    return request.param, augmentation, graph


def make(**options):
    from pipelines.augment import Augmentation, AugmentOptions

    return Augmentation(AugmentOptions(**options))


def call(graph, batch, step=0, replica=0):
    import tensorflow as tf

    return tuple(np.asarray(part) for part in graph(*batch, tf.constant(step), tf.constant(replica)))


def test_a_graph_gives_what_eager_execution_gives(compiled):
    from pipelines.random_key import RandomKey

    _, augmentation, graph = compiled
    batch = noise_batch(size=6)
    images, masks = call(graph, batch, step=7)
    eager_images, eager_masks = augmentation(*batch, RandomKey(7, 7, 0))
    # A graph folds constants, which moves a matrix by its last bit; neighbours on noise are 255 levels apart.
    np.testing.assert_allclose(images, eager_images, atol=1e-2)
    np.testing.assert_array_equal(masks, eager_masks)


def test_step_and_replica_change_the_draws_and_the_same_ones_give_the_same_bytes(compiled):
    name, _, graph = compiled
    batch = noise_batch(size=6)
    first = digest(*call(graph, batch, step=5, replica=1))
    assert digest(*call(graph, batch, step=5, replica=1)) == first
    others = {digest(*call(graph, batch, step, replica)) for step, replica in ((6, 1), (5, 0))}
    assert (first in others) == (name == "none")


def test_levels_stay_in_0_to_255_and_masks_hold_only_ids_that_were_in_them(compiled):
    _, _, graph = compiled
    images, _ = noise_batch(size=6)
    masks = np.where(np.random.default_rng(0).random((6, HEIGHT, WIDTH)) < 0.5, 2, 9).astype(np.uint8)
    for step in range(4):
        changed, changed_masks = call(graph, (images, masks), step)
        assert changed.shape == (6, HEIGHT, WIDTH, 3)
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert set(np.unique(changed_masks)) <= {2, 9, 255}


def test_an_image_that_is_its_mask_stays_equal_to_it_under_every_recipes_geometry(compiled):
    """Only what moves pixels: no colour, and of the operations those that move, hide or mix them."""
    name, augmentation, _ = compiled
    from pipelines.color import ColorOptions
    from pipelines.random_key import RandomKey

    photometric = ("emboss", "sharpen", "directed_edge_detect", "tfa/sharpness", "tfa/equalize")
    ops = [
        one.model_dump()
        for one in augmentation.options.ops
        if one.op not in (*photometric, "keras_cv/RandomGaussianBlur")
    ]
    for one in ops:
        one["ops"] = [part for part in one.get("ops", ()) if part["op"] not in photometric]
    ops = [{key: value for key, value in one.items() if key != "ops" or value} for one in ops]
    geometry = make(recipe=name, ops=ops, **dict.fromkeys(ColorOptions.model_fields, 0.0))
    images, ids = blocks(size=6)
    for step in range(3):
        moved, moved_masks = (np.asarray(part) for part in geometry(images, ids, RandomKey(1, step, 0)))
        flat = np.ptp(np.lib.stride_tricks.sliding_window_view(moved[..., 0], (3, 3), axis=(1, 2)), axis=(3, 4)) < 1e-3
        inner, inner_mask = moved[:, 1:-1, 1:-1, 0][flat], moved_masks[:, 1:-1, 1:-1][flat]
        assert (inner_mask != 255).sum() > 4000
        np.testing.assert_allclose(inner, np.where(inner_mask == 255, 0, inner_mask * 20.0 + 20.0), atol=2e-3)


def test_two_replicas_draw_differently_and_each_as_it_would_alone(two_cpu_devices):
    import tensorflow as tf

    from pipelines.random_key import RandomKey

    augmentation, batch = make(recipe="street"), noise_batch(size=4)
    strategy = tf.distribute.MirroredStrategy(two_cpu_devices)

    @tf.function(jit_compile=False)
    def step(number):
        def on_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return augmentation(*batch, RandomKey(7, number, replica))

        return [strategy.experimental_local_results(part) for part in strategy.run(on_replica)]

    images, masks = step(tf.constant(3))
    assert digest(images[0], masks[0]) != digest(images[1], masks[1])
    for replica in (0, 1):
        alone, alone_masks = augmentation(*batch, RandomKey(7, 3, replica))
        np.testing.assert_allclose(images[replica], alone, atol=1e-2)
        np.testing.assert_array_equal(masks[replica], alone_masks)


def print_digests(folder, first, die):
    """Of three augmented batches from one on; with ``die``, the process is gone after the first. Run by a test."""
    import tensorflow as tf

    from pipelines.dataset import open_records
    from pipelines.input import DataOptions, training_batches
    from pipelines.random_key import RandomKey

    how = {"batch_size": 2, "stride": 16, "seed": 3}
    batches = training_batches(open_records(folder), DataOptions(records=folder), lambda: (0, first), **how)
    augmentation = make(recipe="street")
    graph = tf.function(lambda images, masks, step: augmentation(images, masks, RandomKey(3, step, 0)))
    for step, (images, masks) in zip(range(first, 3), batches, strict=False):
        sys.stdout.write(f"{step} {digest(*graph(images, masks, tf.constant(step)))}\n")
        sys.stdout.flush()
        if die:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_killed_and_resumed_the_same_batches_come(tiny_records, capsys):
    """A process that is killed and another that goes on see, together, the very bytes of the unbroken run."""
    program = "import sys, pathlib, tests.test_augment as t; t.print_digests(pathlib.Path(sys.argv[1]), *{})"
    killed, resumed = (
        subprocess.Popen(
            [sys.executable, "-c", program.format(arguments), str(tiny_records)],
            env=cli_environment(), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for arguments in ((0, True), (1, False))
    )  # fmt: skip
    print_digests(tiny_records, 0, die=False)
    whole = capsys.readouterr().out
    assert len(whole.splitlines()) == 3
    assert killed.communicate(timeout=300)[0] + resumed.communicate(timeout=300)[0] == whole
    assert (killed.returncode, resumed.returncode) == (-signal.SIGKILL, 0)


def test_every_recipe_has_its_name_in_the_folder_and_street_is_the_default():
    from pipelines.augment import AugmentOptions, recipe_names

    assert list(recipe_names()) == NAMES
    assert AugmentOptions() == AugmentOptions(recipe="street")
    assert {one.op for one in AugmentOptions().ops} == {"keras_cv/RandomGaussianBlur", "keras_cv/RandomCutout"}


def test_a_recipes_own_keys_override_the_named_ones():
    from pipelines.augment import AugmentOptions

    street = AugmentOptions()
    changed = AugmentOptions(recipe="street", rotate=11, ops=[])
    assert (changed.rotate, changed.scale, changed.ops) == (11.0, street.scale, ())


def test_the_demo_and_camvid_recipes_get_no_more_than_they_name():
    from model.recipe import Recipe

    for name, base, gamma in (("demo", "light", 0.0), ("camvid_unet", "none", 0.15)):
        options = load_config(Recipe, Path("configs") / f"{name}.yaml").augment
        assert (options.recipe, options.ops, options.gamma, options.flip_vertical) == (base, (), gamma, 0.0)


def test_options_come_back_from_the_yaml_that_a_run_keeps(tmp_path):
    from pipelines.augment import AugmentOptions

    for name in NAMES:
        options = AugmentOptions(recipe=name, rotate=4)
        (tmp_path / "kept.yaml").write_text(dump_yaml(options))
        assert load_config(AugmentOptions, tmp_path / "kept.yaml") == options


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"recipe": "stret"}, "augment.recipe = 'stret': no such augmentation; did you mean 'street'?"),
        ({"rotat": 3}, "unknown key 'augment.rotat'; did you mean 'rotate'?"),
        (
            {"ops": [{"op": "keras_cv/RandomCutot"}]},
            "there is no operation 'keras_cv/RandomCutot'; did you mean 'keras_cv/RandomCutout'?",
        ),
        (
            {"ops": [{"op": "keras_cv/RandomCutout", "height_factr": 0.2}]},
            "keras_cv/RandomCutout has no parameter 'height_factr'; did you mean 'height_factor'?",
        ),
        ({"ops": [{"op": "keras_cv/RandomSharpness"}]}, "keras_cv/RandomSharpness needs 'factor'"),
        (
            {"ops": [{"op": "keras_cv/RandomSharpness", "factor": "much"}]},
            "factor = 'much': expected a number, or [least, most]",
        ),
        ({"ops": [{"op": "sharpen", "probability": 3}]}, "sharpen: probability = 3: input should be less than"),
        ({"ops": [{"op": "keras_cv/CutMix"}]}, "not among the operations that are proven here; use cut_mix"),
        ({"ops": [{"op": "keras_cv/RandomRotation"}]}, "use the option augment.rotate"),
        ({"ops": ["emboss"]}, "augment.ops.0 = 'emboss': expected {op: NAME, ...}"),
        ({"ops": [{"op": "one_of", "ops": [{"op": "embos"}, {"op": "sharpen"}]}]}, "did you mean 'emboss'?"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_section_is_one_line_that_names_the_nearest_right_one(tmp_path, section, message):
    from pipelines.augment import AugmentOptions

    class Recipe(Config):
        augment: AugmentOptions = AugmentOptions()

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"augment": section}))
    with pytest.raises(UserError) as raised:
        load_config(Recipe, path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_was_drawn_can_be_told():
    from pipelines.augment import describe
    from pipelines.random_key import RandomKey

    augmentation = make(
        recipe="none", flip=1.0, rotate=10, ops=[{"op": "one_of", "ops": [{"op": "emboss"}, {"op": "sharpen"}]}]
    )
    draws = augmentation.draw(8, (HEIGHT, WIDTH), RandomKey(1, 2, 0))
    texts = [describe(draws, augmentation.options, index) for index in range(8)]
    for index, text in enumerate(texts):
        assert text.startswith(f"flip, rotate {float(draws.geometry.rotate[index]):.3g}, ")
    assert {text.rpartition(", ")[2] for text in texts} == {"emboss", "sharpen"}
    nothing = make(recipe="none")
    assert describe(nothing.draw(1, (HEIGHT, WIDTH), RandomKey(1, 2, 0)), nothing.options, 0) == "nothing"

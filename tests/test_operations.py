"""Operations by name: every one of them proven alike, and each against what it promises."""

import numpy as np
import pytest

from tests.augmenting import HEIGHT, WIDTH, blocks, digest, noise_batch

PARAMETERS = {
    "keras_cv/RandomCutout": {"height_factor": 0.5, "width_factor": 0.5},
    "keras_cv/RandomGaussianBlur": {"factor": [0.5, 2.0]},
    "keras_cv/RandomSharpness": {"factor": [0.2, 1.0]},
    "keras_cv/RandomColorDegeneration": {"factor": [0.2, 1.0]},
    "keras_cv/RandomChannelShift": {"factor": [0.2, 1.0]},
    "keras_cv/RandomFlip": {"mode": "horizontal_and_vertical"},
    "one_of": {"ops": [{"op": "flip_up_down"}, {"op": "sharpen"}, {"op": "emboss"}]},
    "tfa/elastic": {"amplitude": [0.03, 0.05]},
}
NAMES = [
    "cut_mix", "directed_edge_detect", "emboss", "flip_left_right", "flip_up_down", "grid_mask",
    "keras_cv/AutoContrast", "keras_cv/RandomChannelShift", "keras_cv/RandomColorDegeneration",
    "keras_cv/RandomCutout", "keras_cv/RandomFlip",
    "keras_cv/RandomGaussianBlur", "keras_cv/RandomSharpness", "one_of", "sharpen", "tfa/elastic", "tfa/equalize",
    "tfa/gaussian_filter2d", "tfa/sharpness",
]  # fmt: skip
MOVES = {"cut_mix", "flip_left_right", "flip_up_down", "grid_mask", "keras_cv/RandomCutout", "keras_cv/RandomFlip",
         "one_of", "tfa/elastic"}  # fmt: skip


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def make(name, **parameters):
    from pipelines import addons
    from pipelines.augment import Augmentation, AugmentOptions

    if name.startswith("tfa/") and not addons.installed():
        pytest.skip("tensorflow-addons has no release for this Python")
    return Augmentation(AugmentOptions(recipe="none", ops=[{"op": name, **PARAMETERS.get(name, {}), **parameters}]))


def run(augmentation, batch, step=0, replica=0, seed=1):
    from pipelines.random_key import RandomKey

    return tuple(np.asarray(part) for part in augmentation(*batch, RandomKey(seed, step, replica)))


def low_contrast_batch(size=6):
    images, masks = noise_batch(size=size)
    return images // 2 + 40, masks


def test_the_list_of_the_proven_is_the_list_of_the_allowed(tensorflow_ready):
    import pipelines.augment  # noqa: F401
    from pipelines.ops_base import NOT_PROVEN, OPERATIONS

    assert sorted(OPERATIONS) == NAMES
    assert not set(NOT_PROVEN) & set(OPERATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_a_function_of_its_key_in_a_graph_as_without_one(tensorflow_ready, name):
    """Eager = graph, a rerun is equal, a resumed run goes on; replicas and steps differ; levels and ids stay legal."""
    from pipelines.random_key import RandomKey

    tf, batch = tensorflow_ready, low_contrast_batch()
    augmentation = make(name, probability=0.6)
    graph = tf.function(lambda step, replica: augmentation(*batch, RandomKey(1, step, replica)), autograph=True)
    outputs = {
        (step, replica): [part.numpy() for part in graph(tf.constant(step), tf.constant(replica))]
        for step in range(2)
        for replica in range(2)
    }
    for (step, replica), (images, masks) in outputs.items():
        alone = run(make(name, probability=0.6), batch, step, replica)  # newly made: nothing of the past is needed
        np.testing.assert_allclose(images, alone[0], atol=1e-3)
        np.testing.assert_array_equal(masks, alone[1])
        assert images.min() >= 0
        assert images.max() <= 255
        assert all(set(np.unique(mask)) <= {*np.unique(batch[1]), 255} for mask in masks)
        if name not in MOVES:
            np.testing.assert_array_equal(masks, batch[1])
    assert len({digest(*output) for output in outputs.values()}) == 4


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one_of"])
def test_only_the_images_that_are_hit_change(name):
    from pipelines.random_key import RandomKey

    batch = low_contrast_batch(size=8)
    augmentation = make(name, probability=0.5, **({"rate": 1.0} if name == "keras_cv/RandomFlip" else {}))
    hit = augmentation.draw(8, (HEIGHT, WIDTH), RandomKey(1, 3, 0)).operations[0].hit.numpy()
    images, masks = run(augmentation, batch, step=3)
    changed = [not np.array_equal(a, b) for a, b in zip(images, batch[0], strict=True)]
    np.testing.assert_array_equal(changed, hit)
    assert 0 < hit.sum() < 8
    np.testing.assert_array_equal(masks[~hit], batch[1][~hit])
    never = run(make(name, probability=0.0), batch)
    np.testing.assert_array_equal(never[0], batch[0])
    np.testing.assert_array_equal(never[1], batch[1])


@pytest.mark.parametrize("name", sorted(MOVES - {"one_of"}))
def test_what_moves_or_hides_pixels_does_the_same_to_the_mask(name):
    images, ids = blocks(size=6)
    for step in range(3):
        moved, masks = run(make(name), (images, ids), step)
        flat = np.ptp(np.lib.stride_tricks.sliding_window_view(moved[..., 0], (3, 3), axis=(1, 2)), axis=(3, 4)) < 1e-3
        inner, inner_mask = moved[:, 1:-1, 1:-1, 0][flat], masks[:, 1:-1, 1:-1][flat]
        np.testing.assert_allclose(inner, np.where(inner_mask == 255, 0, inner_mask * 20.0 + 20.0), atol=2e-3)
        assert flat.mean() > 0.3


def test_one_of_takes_exactly_one_for_each_image_and_all_about_equally_often():
    from pipelines.augment import Augmentation, AugmentOptions
    from pipelines.random_key import RandomKey

    article = Augmentation(AugmentOptions(recipe="article"))
    (drawn,) = article.draw(1000, (HEIGHT, WIDTH), RandomKey(1, 0, 0)).operations
    hits = np.stack([child.hit.numpy() for child in drawn.children])
    assert hits.shape == (5, 1000)
    np.testing.assert_array_equal(hits.sum(axis=0), 1)
    assert all(150 < count < 250 for count in hits.sum(axis=1))  # 200 ± 4 standard deviations


def test_the_articles_recipe_is_one_of_five_pictures_and_never_filters_a_mask():
    from pipelines.augment import Augmentation, AugmentOptions

    images, masks = noise_batch(size=12)
    changed, changed_masks = run(Augmentation(AugmentOptions(recipe="article")), (images, masks))
    seen = set()
    for image, mask, new, new_mask in zip(images, masks, changed, changed_masks, strict=True):
        expected = {
            "left-right": (image[:, ::-1], mask[:, ::-1]),
            "up-down": (image[::-1], mask[::-1]),
            "emboss": (correlated(image, [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mask),
            "edges": (correlated(image, EDGES), mask),
            "sharpen": (correlated(image, [[-1, -1, -1], [-1, 9.5, -1], [-1, -1, -1]]), mask),
        }
        same = [
            name
            for name, (picture, ids) in expected.items()
            if np.allclose(new, picture, atol=0.02) and np.array_equal(new_mask, ids)
        ]
        assert len(same) == 1
        seen |= set(same)
    assert len(seen) >= 4  # of 12 images, with this seed


# 0.2 · identity + 0.8 · effect
EDGES = 0.8 * np.array([[-0.1792, -0.56637, -0.1792], [-0.0354, 1, -0.0354], [-0.00221, 0, -0.00221]])
EDGES[1, 1] += 0.2


def correlated(image, kernel):
    """Correlation by hand, border reflect-101, clipped."""
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    total = sum(np.asarray(kernel)[r, c] * padded[r : r + height, c : c + width] for r in range(3) for c in range(3))
    return np.clip(total, 0, 255)


def test_a_direction_of_a_quarter_looks_to_the_right():
    from pipelines.ops_own import DirectedEdgeDetect

    effect = np.array(DirectedEdgeDetect(op="directed_edge_detect", direction=0.25).effect())
    np.testing.assert_allclose(np.rot90(effect, 1), DirectedEdgeDetect(op="directed_edge_detect").effect(), atol=1e-9)


def test_cut_mix_pastes_a_rectangle_of_another_image_and_its_mask():
    images = np.repeat(np.arange(4, dtype=np.uint8) * 50, HEIGHT * WIDTH * 3).reshape(4, HEIGHT, WIDTH, 3)
    masks = np.repeat(np.arange(4, dtype=np.uint8), HEIGHT * WIDTH).reshape(4, HEIGHT, WIDTH)
    mixed, mixed_masks = run(make("cut_mix", area=[0.25, 0.25]), (images, masks))
    np.testing.assert_array_equal(mixed[..., 0], mixed_masks * 50.0)
    for index, mask in enumerate(mixed_masks):
        assert len(set(np.unique(mask))) == 2
        rows, columns = np.nonzero(mask != index)
        assert np.ptp(rows) + 1 == pytest.approx(HEIGHT / 2, abs=1)
        assert np.ptp(columns) + 1 == pytest.approx(WIDTH / 2, abs=1)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    alone = run(make("cut_mix"), (images[:1], masks[:1]))
    np.testing.assert_array_equal(alone[0], images[:1])


def test_the_grid_hides_the_share_that_it_says():
    images, masks = noise_batch(size=20)
    hidden, hidden_masks = run(make("grid_mask", unit=[0.25, 0.25], ratio=[0.5, 0.5]), (images, masks))
    # Squares of 6 every 12 pixels: a quarter of the image.
    assert np.mean(hidden_masks == 255) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal((hidden == 0).all(axis=-1) | (hidden_masks != 255), True)
    np.testing.assert_array_equal(hidden[hidden_masks != 255], images[hidden_masks != 255])


def test_cutout_hides_one_rectangle_as_wide_as_it_says_also_in_wide_images():
    images, masks = np.full((8, 16, 64, 3), 90, np.uint8), np.ones((8, 16, 64), np.uint8)
    cutout = make("keras_cv/RandomCutout", height_factor=[0.5, 0.5], width_factor=[0.5, 0.5], fill_value=7.0)
    widths = []
    for step in range(4):
        changed, changed_masks = run(cutout, (images, masks), step)
        np.testing.assert_array_equal(changed, np.where(changed_masks[..., None] == 255, 7, images))
        for mask in changed_masks:
            rows, columns = np.nonzero(mask == 255)
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert np.ptp(rows) + 1 <= 8
            widths.append(np.ptp(columns) + 1)
    assert max(widths) == 32  # half of 64, which is more than the height; less only where it is cut by an edge


def test_keras_cv_layers_do_what_they_do_when_they_are_called_whole():
    """A factor that is no range leaves their own generators nothing to draw."""
    import keras_cv

    images, masks = low_contrast_batch()
    layers = keras_cv.layers
    for name, layer in {
        "keras_cv/RandomSharpness": layers.RandomSharpness(value_range=(0, 255), factor=(0.7, 0.7)),
        "keras_cv/RandomColorDegeneration": layers.RandomColorDegeneration(factor=(0.7, 0.7)),
        "keras_cv/RandomGaussianBlur": layers.RandomGaussianBlur(kernel_size=5, factor=(0.7, 0.7)),
    }.items():
        ours = run(make(name, factor=[0.7, 0.7]), (images, masks))[0]
        whole = np.asarray(layer(images.astype(np.float32)))
        inner = np.s_[:, 2:-2, 2:-2]  # the blur's border is ours: the layer takes what lies outside as black
        np.testing.assert_allclose(ours[inner], whole[inner], atol=1e-3)


def test_a_blurred_flat_image_stays_flat_to_its_edge():
    flat = np.full((2, HEIGHT, WIDTH, 3), 200, np.uint8), np.zeros((2, HEIGHT, WIDTH), np.uint8)
    for name in ("keras_cv/RandomGaussianBlur", "tfa/gaussian_filter2d"):
        np.testing.assert_allclose(run(make(name), flat)[0], 200, atol=1e-2)


def test_images_of_a_batch_are_blurred_by_different_strengths():
    one = noise_batch(size=1)
    images, masks = (np.repeat(part, 4, axis=0) for part in one)
    blurred = run(make("keras_cv/RandomGaussianBlur"), (images, masks))[0]
    assert len({digest(image) for image in blurred}) == 4


def test_a_channel_shift_adds_one_number_to_each_channel():
    images, masks = low_contrast_batch()
    shifted = run(make("keras_cv/RandomChannelShift", factor=[0.1, 0.2]), (images, masks))[0]
    difference = (shifted - images).reshape(6, -1, 3)
    assert np.ptp(difference, axis=1).max() < 1e-3
    assert ((np.abs(difference[:, 0]) >= 0.05 * 255 - 0.01) & (np.abs(difference[:, 0]) <= 0.1 * 255 + 0.01)).all()


def test_equalize_spreads_the_levels_of_each_channel():
    images, masks = low_contrast_batch()
    equalized = run(make("tfa/equalize"), (images, masks))[0]
    assert (np.quantile(equalized, 0.1, axis=(1, 2)) < 35).all()
    assert (np.quantile(equalized, 0.9, axis=(1, 2)) > 220).all()

"""Losses by name and their sums; what holds for every loss: ignored pixels, any number of parts, logits or not."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from configs.commands import UserError
from configs.loading import dump_yaml, load_config

CASES = {
    "cross_entropy": {},
    "cce_dice_loss": {},
    "focal": {"gamma": 1.5},
    "binary_focal": {},
    "hard_pixels": {"threshold": 0.6},
    "hard_pixels of a share": {"threshold": 0.0001, "minimum_share": 0.3},
    "dice": {"beta": 2.0},
    "jaccard": {},
    "tversky": {"alpha": 0.2, "beta": 0.9},
    "lovasz_softmax": {},
}
"""A case for every loss that a recipe can name, and its options."""
CLASSES = 5


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.fixture(params=[(case, weighted) for case in CASES for weighted in (False, True)], ids=str)
def loss(request):
    """Every loss, without and with class weights."""
    from pydantic import TypeAdapter

    from model.losses import LossTerm

    case, weighted = request.param
    term = TypeAdapter(LossTerm).validate_python({"name": case.split(" ")[0], **CASES[case]})
    return term.build((0.5, 2.0, 1.0, 0.25, 3.0) if weighted else None)


def random_case(seed=0, classes=CLASSES, shape=(2, 6, 7)):
    random = np.random.default_rng(seed)
    return random.integers(0, classes, shape), random.normal(0, 2, (*shape, classes)).astype(np.float32)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def value_and_gradient(tf, loss, masks, logits, activation):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(masks, logits, activation=activation)
    return value.numpy(), tape.gradient(value, logits).numpy()


def test_every_loss_of_a_recipe_has_a_case_here():
    from typing import get_args

    from model.losses import LossTerm

    names = {
        name for term in get_args(get_args(LossTerm)[0]) for name in get_args(term.model_fields["name"].annotation)
    }
    assert names - {"dice_loss", "jaccard_loss"} == {case.split(" ")[0] for case in CASES}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_and_their_probabilities_give_one_value(loss, activation):
    masks, logits = random_case(1)
    masks[:, 2] = 255
    p = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    assert float(loss(masks, logits, activation=activation)) == pytest.approx(float(loss(masks, p)), rel=2e-5)


@pytest.mark.parametrize(
    ("activation", "poison"), [("softmax", np.nan), ("softmax", 1e9), ("sigmoid", np.inf), ("sigmoid", np.nan)]
)
def test_scores_at_ignored_pixels_change_no_bit_of_value_or_gradient(tensorflow_ready, loss, poison, activation):
    masks, logits = random_case(4)
    masks[:, 2:4] = 255
    there = (masks == 255)[..., None]
    clean = value_and_gradient(tensorflow_ready, loss, masks, np.where(there, np.float32(0), logits), activation)
    poisoned = value_and_gradient(
        tensorflow_ready, loss, masks, np.where(there, np.float32(poison), logits), activation
    )
    assert clean[0].tobytes() == poisoned[0].tobytes()
    assert clean[1].tobytes() == poisoned[1].tobytes()
    assert (poisoned[1][masks == 255] == 0).all()
    assert np.isfinite(poisoned[1]).all()
    assert (poisoned[1][masks != 255] != 0).any()


def test_ignored_pixels_might_as_well_not_be_there(loss):
    masks, logits = random_case(6, shape=(2, 6, 8))
    masks[:, :, 5:] = 255
    whole = float(loss(masks, logits, activation="softmax"))
    assert float(loss(masks[:, :, :5], logits[:, :, :5], activation="softmax")) == pytest.approx(whole, rel=1e-6)


def test_statistics_of_parts_add_up_to_those_of_the_whole(loss):
    from model.scored import score

    if loss.per_replica:
        pytest.skip("lovasz_softmax sorts the pixels of each replica by themselves")
    masks, logits = random_case(5, shape=(4, 6, 7))
    masks[0, :, 3:] = 255  # unevenly spread
    parts = [loss.statistics(score(masks[i : i + 2], logits[i : i + 2], "softmax")) for i in (0, 2)]
    joined = {key: parts[0][key] + parts[1][key] for key in parts[0]}
    whole = float(loss(masks, logits, activation="softmax"))
    assert float(loss.finish(joined)) == pytest.approx(whole, rel=1e-6)


def test_a_batch_without_a_scored_pixel_has_a_finite_loss_and_no_gradient(tensorflow_ready, loss):
    _, logits = random_case()
    value, gradient = value_and_gradient(tensorflow_ready, loss, np.full((2, 6, 7), 255), logits, "softmax")
    assert np.isfinite(value)
    assert (gradient == 0).all()


def test_the_gradient_is_the_slope_of_the_value(tensorflow_ready, loss):
    masks, logits = random_case(8, shape=(1, 3, 4))
    logits = logits.astype(np.float64)
    _, gradient = value_and_gradient(tensorflow_ready, loss, masks, logits, "softmax")
    direction = np.random.default_rng(0).normal(size=logits.shape)
    step = 1e-6 * direction
    up, down = (float(loss(masks, logits + sign * step, activation="softmax")) for sign in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-9)


def test_a_better_prediction_has_a_lower_loss(loss):
    masks, logits = random_case(9)
    better = logits + 4 * np.eye(CLASSES, dtype=np.float32)[masks]
    assert float(loss(masks, better, activation="softmax")) < float(loss(masks, logits, activation="softmax"))


def test_a_sum_is_the_sum_of_its_terms_and_knows_whether_one_is_per_replica():
    from model.losses import WeightedSum
    from model.overlap_losses import Dice, LovaszSoftmax
    from model.pixel_losses import CrossEntropy

    masks, logits = random_case(2)
    expected = 2.0 * float(CrossEntropy()(masks, logits, "softmax")) + 0.5 * float(Dice()(masks, logits, "softmax"))
    both = WeightedSum([(2.0, CrossEntropy()), (0.5, Dice())])
    assert float(both(masks, logits, "softmax")) == pytest.approx(expected, rel=1e-6)
    assert not both.per_replica
    assert WeightedSum([(1.0, both), (1.0, LovaszSoftmax())]).per_replica


def test_a_loss_on_two_outputs_is_the_weighted_sum_of_both():
    from model.losses import OnOutputs, cce_dice_loss
    from model.scored import score

    masks, main = random_case(2)
    _, auxiliary = random_case(3)
    loss = OnOutputs(cce_dice_loss, (1.0, 0.4))
    value = loss.finish(loss.statistics([score(masks, logits, "softmax") for logits in (main, auxiliary)]))
    expected = [float(cce_dice_loss(masks, logits, "softmax")) for logits in (main, auxiliary)]
    assert float(value) == pytest.approx(expected[0] + 0.4 * expected[1], rel=1e-6)


def test_a_recipe_names_losses_with_their_options_and_reads_back_what_it_writes(tmp_path):
    from model.recipe import Recipe

    text = "[{name: cross_entropy}, {name: dice, weight: 0.5}, {name: focal, gamma: 1.5, class_weights: [1, 2]}]"
    recipe = load_config(Recipe, None, [f"train.loss={text}"])
    assert [(term.name, term.weight) for term in recipe.train.loss] == [
        ("cross_entropy", 1.0),
        ("dice", 0.5),
        ("focal", 1.0),
    ]
    assert recipe.train.loss[2].gamma == 1.5
    path = Path(tmp_path / "config.yaml")
    path.write_text(dump_yaml(recipe))
    assert load_config(Recipe, path) == recipe
    assert yaml.safe_load(path.read_text())["train"]["loss"][1] == {
        "weight": 0.5,
        "class_weights": None,
        "name": "dice",
        "beta": 1.0,
    }


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("[{name: dise}]", "train.loss.0.name = 'dise': there is none of this name; did you mean 'dice'?"),
        ("[{name: xyz}]", "there are cross_entropy, cce_dice_loss, focal, binary_focal, hard_pixels, dice"),
        ("[{weight: 2}]", "'train.loss.0.name' is missing"),
        ("[{name: focal, gama: 2}]", "unknown key 'train.loss.0.focal.gama'; did you mean 'gamma'?"),
        ("[{name: dice, gamma: 2}]", "'train.loss.0.dice.gamma'; known here: weight, class_weights, name, beta"),
        ("[{name: tversky, alpha: -1}]", "train.loss.0.tversky.alpha = -1: input should be greater than or equal to 0"),
    ],
)
def test_a_mistake_in_a_recipes_loss_is_one_line_that_says_where(loss, message):
    from model.recipe import Recipe

    with pytest.raises(UserError) as raised:
        load_config(Recipe, None, [f"train.loss={loss}"])
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"--set train.loss={loss}: ")


def test_class_weights_of_the_recipe_go_to_means_over_pixels_and_a_terms_own_go_first(tiny_records):
    from model.recipe import TrainOptions, build_loss
    from pipelines.manifest import read_manifest

    manifest = read_manifest(tiny_records)
    masks, logits = random_case(3, classes=11)

    def value(terms, class_weights="none"):
        options = TrainOptions.model_validate({"loss": terms, "class_weights": class_weights})
        return float(build_loss(options, manifest)(masks, logits, "softmax"))

    weights = list(manifest.class_weights)
    for name, over_pixels in (("cross_entropy", True), ("focal", True), ("dice", False), ("tversky", False)):
        plain, weighed = value([{"name": name}]), value([{"name": name, "class_weights": weights}])
        assert plain != pytest.approx(weighed, rel=1e-4)
        assert value([{"name": name}], "median_frequency") == (weighed if over_pixels else plain)
        assert value([{"name": name, "class_weights": "median_frequency"}]) == weighed
        assert value([{"name": name, "class_weights": "none"}], "median_frequency") == plain
    with pytest.raises(UserError, match=r"train\.loss: dice has 2 class_weights, the records have 11 classes"):
        value([{"name": "dice", "class_weights": [1.0, 2.0]}])

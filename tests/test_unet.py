"""UNET: the library's layers, names, numbers of parameters and outputs, and its options.

The golden values are the library's own (tests/data/make_golden_unet.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"
SMALL = {"classes": 4, "encoder_weights": None, "decoder_filters": (8, 8, 8, 4, 4)}
CASES = {
    **{name: {"backbone_name": name} for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
    "transpose": {"backbone_name": "resnet18", "decoder_block_type": "transpose"},
    "plain": {"backbone_name": "resnet18", "decoder_use_batchnorm": False, "decoder_filters": (48, 32, 24, 16, 8)},
    "features": {"backbone_name": "resnet18", "encoder_features": ("stage4_unit1_bn1", "stage2_unit2_relu1")},
}


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "golden_unet.npz")


@pytest.fixture(scope="module")
def rule():
    """The rule that fills weights; the script that made the golden values imports it from its own folder."""
    sys.path.insert(0, str(DATA))
    try:
        import filled
    finally:
        sys.path.remove(str(DATA))
    return filled


def unet(**arguments):
    from model import Unet

    return Unet(**{"encoder_weights": None, **arguments})


def fill(model, rule):
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(rule.filled(layer.name, variable.name, tuple(variable.shape)))


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.parametrize(("classes", "parameters"), [(1, 24_456_154), (11, 24_457_604), (21, 24_459_054)])
def test_parameters_are_those_of_the_library(classes, parameters):
    assert unet(classes=classes).count_params() == parameters


def test_trainable_parameters_and_those_of_the_encoder_are_those_of_the_library():
    import keras

    from model.resnet import Normalization, resnet

    assert trainable(unet(classes=21)) == 24_441_704
    assert resnet("resnet34", keras.Input((None, None, 3)), Normalization()).count_params() == 21_302_473


@pytest.mark.parametrize("case", CASES)
def test_outputs_layers_and_numbers_are_the_librarys(case, golden, rule):
    import keras

    model = unet(classes=5, activation="linear", **CASES[case])
    fill(model, rule)
    logits = model(rule.image(64, 96), training=False)
    for activation, output in (
        ("linear", logits),
        ("sigmoid", keras.ops.sigmoid(logits)),
        ("softmax", keras.ops.softmax(logits)),
    ):
        expected = golden[f"{case}/{activation}"]
        assert expected.std() > 0.01
        np.testing.assert_allclose(rule.sampled(np.asarray(output)), expected, rtol=0, atol=1e-5)
    assert [layer.name for layer in model.layers if layer.weights] == golden[f"{case}/layers"].tolist()
    assert (model.count_params(), trainable(model)) == (golden[f"{case}/parameters"], golden[f"{case}/trainable"])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_the_last_layer_applies_the_activation(activation, golden, rule):
    model = unet(backbone_name="resnet18", classes=5, activation=activation)
    fill(model, rule)
    output = rule.sampled(np.asarray(model(rule.image(64, 96), training=False)))
    np.testing.assert_allclose(output, golden[f"resnet18/{activation}"], rtol=0, atol=1e-5)
    assert model.layers[-1].name == activation


def test_a_wrong_weight_shows_in_the_golden_outputs(golden, rule):
    """They have teeth: one shift of the deepest unit, off by 0.1, is seen."""
    model = unet(backbone_name="resnet18", classes=5, activation="linear")
    fill(model, rule)
    beta = model.get_layer("stage4_unit2_bn2").beta
    beta.assign(beta + 0.1)
    output = rule.sampled(np.asarray(model(rule.image(64, 96), training=False)))
    assert np.abs(output - golden["resnet18/linear"]).max() > 1e-3


def test_signature_is_the_librarys():
    import inspect

    from model import Unet

    parameters = inspect.signature(Unet).parameters.values()
    assert [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        ("backbone_name", "resnet34"),  # vgg16 there, which is not here
        ("input_shape", (None, None, 3)),
        ("classes", 1),
        ("activation", "sigmoid"),
        ("weights", None),
        ("encoder_weights", "imagenet"),
        ("encoder_freeze", False),
        ("encoder_features", "default"),
        ("decoder_block_type", "upsampling"),
        ("decoder_filters", (256, 128, 64, 32, 16)),
        ("decoder_use_batchnorm", True),
    ]


def test_a_frozen_encoder_trains_its_normalisation_only(golden):
    model = unet(backbone_name="resnet18", classes=5, encoder_freeze=True)
    assert trainable(model) == golden["resnet18/trainable_frozen"]
    assert not model.get_layer("stage2_unit1_conv1").trainable_weights
    assert model.get_layer("stage2_unit1_bn1").trainable_weights
    assert model.get_layer("decoder_stage0a_conv").trainable_weights


def test_hyperparameters_and_initialisers_are_the_librarys():
    model = unet(classes=21)
    assert model.get_layer("stage3_unit1_bn1").epsilon == 2e-5
    assert model.get_layer("decoder_stage0a_bn").epsilon == 1e-3
    assert {layer.momentum for layer in model.layers if hasattr(layer, "momentum")} == {0.99}
    assert not model.get_layer("bn_data").scale
    initialisers = {
        layer.name: type(layer.kernel_initializer).__name__ for layer in model.layers if hasattr(layer, "kernel")
    }
    assert initialisers.pop("final_conv") == "GlorotUniform"
    assert set(initialisers.values()) == {"HeUniform"}
    # He: uniform within ± sqrt(6 / fan-in), here 3·3·64 inputs.
    kernel = np.asarray(model.get_layer("stage1_unit1_conv1").kernel)
    assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / 576), rel=1e-3)


def test_output_has_the_inputs_size_and_sums_to_one():
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 64, 3)).astype(np.float32)
    probabilities = unet(backbone_name="resnet18", activation="softmax", **SMALL)(images)
    assert probabilities.shape == (2, 32, 64, 4)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1, rtol=1e-5)


def test_logits_model_shares_weights_and_leaves_the_activation_out(tensorflow_ready):
    from model.outputs import logits_model

    model = unet(backbone_name="resnet18", activation="softmax", **SMALL)
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)
    logits = logits_model(model)(images)
    np.testing.assert_allclose(tensorflow_ready.nn.softmax(logits), model(images), atol=1e-6)


def test_every_convolution_with_stride_two_pads_alike_on_all_sides():
    # A mirrored image gives the mirrored feature map of a mirrored kernel only if padding is symmetric.
    model = unet(backbone_name="resnet50", **SMALL)
    for layer in model.layers:
        if getattr(layer, "strides", None) == (2, 2) and hasattr(layer, "kernel_size"):
            assert layer.padding == "valid", layer.name


def test_group_normalisation_does_not_look_at_the_other_images_of_a_batch():
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 64, 3)).astype(np.float32)
    model = unet(backbone_name="resnet18", normalization="group", **SMALL)
    alone, together = model(images[:1], training=True), model(images, training=True)
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    batch = unet(backbone_name="resnet18", **SMALL)
    assert np.abs(batch(images, training=True)[:1] - batch(images[:1], training=True)).max() > 1e-3
    assert [weight.name for weight in model.get_layer("bn0").weights] == ["gamma", "beta"]
    # 16 groups of 2 channels, and the colours of an image are one group.
    assert (model.get_layer("decoder_stage3b_bn").groups, model.get_layer("bn_data").groups) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (100, 64, 3)}, "height 100 is not a multiple of 32"),
        ({"backbone_name": "vgg16"}, "backbone 'vgg16' is unknown; there are resnet18, resnet34, resnet50, resnet101"),
        ({"decoder_block_type": "bilinear"}, "decoder_block_type 'bilinear' is unknown; there are upsampling, trans"),
        ({"encoder_features": ("relu9",)}, "encoder_features: resnet18 has no layer named 'relu9'; the default is"),
        ({"encoder_features": (86,)}, "encoder_features: resnet18 has no layer named 86"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        unet(**{"backbone_name": "resnet18", **arguments})

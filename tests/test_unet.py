"""UNET: the library's layers, names and parameter counts, and the padding that replaces explicit layers."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.mark.parametrize(("classes", "parameters"), [(1, 24_456_154), (11, 24_457_604), (21, 24_459_054)])
def test_parameters_are_those_of_the_library(classes, parameters):
    from model import Unet

    assert Unet("resnet34", classes=classes).count_params() == parameters


def test_trainable_parameters_are_those_of_the_library():
    from model import Unet

    model = Unet("resnet34", classes=21)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 24_441_704


def test_layers_bear_the_librarys_names_and_its_hyperparameters():
    from model import Unet

    model = Unet("resnet34", classes=21, activation="sigmoid")
    names = [layer.name for layer in model.layers]
    expected = ["data", "bn_data", "conv0", "stage1_unit1_sc", "stage4_unit3_conv2", "relu1"]
    assert {*expected, "decoder_stage0_concat", "decoder_stage4b_relu", "final_conv"} <= set(names)
    assert names[-1] == "sigmoid"
    assert "decoder_stage4_concat" not in names
    assert model.get_layer("stage3_unit1_bn1").epsilon == 2e-5
    assert model.get_layer("decoder_stage0a_bn").epsilon == 1e-3
    assert not model.get_layer("bn_data").scale
    encoder = [layer for layer in model.layers if layer.weights and not layer.name.startswith(("decoder", "final"))]
    assert len(encoder) == 72


def test_output_has_the_inputs_size_and_sums_to_one():
    from model import Unet

    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 64, 3)).astype(np.float32)
    probabilities = Unet("resnet18", classes=4, activation="softmax", decoder_filters=(8, 8, 8, 4, 4))(images)
    assert probabilities.shape == (2, 32, 64, 4)
    np.testing.assert_allclose(np.sum(probabilities, axis=-1), 1, rtol=1e-5)


def test_logits_model_shares_weights_and_leaves_the_activation_out(tensorflow_ready):
    from model import Unet
    from model.outputs import logits_model

    model = Unet("resnet18", classes=4, activation="softmax", decoder_filters=(8, 8, 8, 4, 4))
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)
    logits = logits_model(model)(images)
    np.testing.assert_allclose(tensorflow_ready.nn.softmax(logits), model(images), atol=1e-6)


def test_every_convolution_with_stride_two_pads_alike_on_all_sides():
    from model import Unet

    # A mirrored image gives the mirrored feature map of a mirrored kernel only if padding is symmetric.
    model = Unet("resnet18", classes=2, decoder_filters=(8, 8, 8, 4, 4))
    for layer in model.layers:
        if getattr(layer, "strides", None) == (2, 2) and hasattr(layer, "kernel_size"):
            assert layer.padding == "valid", layer.name


def test_wrong_sizes_and_backbones_are_refused():
    from model import Unet

    with pytest.raises(ValueError, match="height 100 is not a multiple of 32"):
        Unet("resnet18", input_shape=(100, 64, 3))
    with pytest.raises(ValueError, match="backbone 'vgg' is unknown; there are resnet18, resnet34"):
        Unet("vgg")
    with pytest.raises(ValueError, match="decoder_filters needs 5 numbers, found 2"):
        Unet("resnet18", decoder_filters=(8, 8))

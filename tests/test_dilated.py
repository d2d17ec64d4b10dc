"""Dilated encoders: where the plain network has a value, they compute the same from the same weights."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def build(name):
    import keras

    from model.dilated import dilated_resnet
    from model.resnet import Normalization

    return dilated_resnet(name, keras.layers.Input((None, None, 3)), Normalization())


def randomize(model, seed=0):
    """Normalisation that does something: scales, offsets and statistics off their initial values."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            for variable in layer.weights:
                noise = random.uniform(0.8, 1.2, variable.shape) - (variable.name in ("beta", "moving_mean"))
                variable.assign(noise.astype(np.float32))


@pytest.fixture(scope="module")
def applications(tensorflow_ready, tmp_path_factory):
    """Keras Applications' ResNet-50 with random weights, and the file of them in Keras 2's layout."""
    import keras

    from model.weights import save_legacy_weights

    keras.utils.set_random_seed(3)
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    randomize(model)
    path = tmp_path_factory.mktemp("weights") / "resnet50.h5"
    save_legacy_weights(model, path)
    return model, path


def test_applications_file_loads_and_every_fourth_pixel_is_that_of_the_plain_network(applications):
    import keras

    from model.weights import load_encoder

    plain, path = applications
    dilated = build("resnet50")
    load_encoder(dilated, path)
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    prepared = keras.applications.resnet.preprocess_input(images.copy())
    stages = [plain.get_layer(name).output for name in ("conv2_block3_out", "conv4_block6_out", "conv5_block3_out")]
    expected = keras.Model(plain.input, stages)(prepared)
    for step, found, wanted in zip((1, 2, 4), dilated(images), expected, strict=True):
        scale = float(np.abs(wanted).max())
        assert scale > 0
        np.testing.assert_allclose(found[:, ::step, ::step], wanted, atol=1e-4 * scale)


def test_dilated_resnet34_has_the_plain_ones_value_at_every_fourth_pixel(tensorflow_ready):
    import keras

    from model.resnet import Normalization, resnet

    keras.utils.set_random_seed(1)
    plain = resnet("resnet34", keras.layers.Input((None, None, 3)), Normalization())
    randomize(plain)
    dilated = build("resnet34")
    dilated.set_weights(plain.get_weights())
    images = np.random.default_rng(0).uniform(-2, 2, (1, 64, 96, 3)).astype(np.float32)
    stages = [plain.get_layer(name).output for name in ("stage2_unit1_relu1", "stage4_unit1_relu1", "relu1")]
    for step, found, wanted in zip((1, 2, 4), dilated(images), keras.Model(plain.input, stages)(images), strict=True):
        np.testing.assert_allclose(found[:, ::step, ::step], wanted, atol=1e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize(("name", "channels"), [("resnet34", (64, 256, 512)), ("resnet101", (256, 1024, 2048))])
def test_outputs_are_a_fourth_and_eighths_of_the_image(name, channels):
    shapes = build(name).compute_output_shape((None, 64, 104, 3))
    assert shapes == [(None, 16, 26, channels[0]), (None, 8, 13, channels[1]), (None, 8, 13, channels[2])]


def test_parameters_are_applications():
    assert build("resnet50").count_params() == 23_587_712
    assert build("resnet101").count_params() == 42_658_176


def test_an_unknown_backbone_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="backbone 'resnet18' is unknown; there are resnet34, resnet50, resnet101"):
        build("resnet18")

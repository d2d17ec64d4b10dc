"""CANET in both forms: parameter counts of the published description, shapes, heads, and what a wrong call says."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def parameters(model, *prefixes):
    """Parameters of the layers whose names begin so; of all when no prefix is given."""
    return sum(
        int(np.prod(weight.shape))
        for layer in model.layers
        for weight in layer.weights
        if layer.name.startswith(prefixes or "")
    )


@pytest.fixture(scope="module")
def published(tensorflow_ready):
    from model import CANet

    return CANet("resnet50", classes=21, auxiliary=True)


def test_parameters_of_the_published_head_are_exact(published):
    flows = parameters(published, "global", "flow")
    assert flows == 7_518_208
    assert flows + parameters(published, "selection") == 8_765_440
    head = ("global", "flow", "selection", "low_level", "decoder", "final")
    assert parameters(published, *head) == 10_173_909
    assert parameters(published, "auxiliary") == 2_365_717
    assert parameters(published, *head, "auxiliary", "conv") == parameters(published)


def test_parameters_of_the_compact_form_are_exact():
    from model import CANet

    assert parameters(CANet("compact", classes=21)) == 287_533


def test_only_the_published_forms_classifiers_have_biases_beside_the_encoder(published):
    biased = {layer.name for layer in published.layers if getattr(layer, "use_bias", False)}
    assert {name for name in biased if not name.startswith("conv")} == {"final_conv", "auxiliary_final_conv"}


@pytest.mark.parametrize("backbone", ["resnet34", "compact"])
@pytest.mark.parametrize("size", [(64, 96), (72, 104), (8, 16)])
def test_any_multiple_of_8_will_do_and_comes_back_at_its_own_size(backbone, size):
    from model import CANet

    images = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    probabilities = np.asarray(CANet(backbone, classes=4)(images))
    assert probabilities.shape == (2, *size, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_a_network_of_open_size_traces_and_equals_that_of_a_fixed_one(tensorflow_ready):
    import keras

    from model import CANet

    tf = tensorflow_ready
    keras.utils.set_random_seed(0)
    open_size, fixed = CANet("compact", classes=4), CANet("compact", classes=4, input_shape=(40, 56, 3))
    fixed.set_weights(open_size.get_weights())
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 40, 56, 3)), tf.float32)
    traced = tf.function(open_size, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    np.testing.assert_allclose(traced(images), fixed(images), atol=1e-6)


def test_the_compact_forms_logits_are_not_rectified():
    from model import CANet
    from model.outputs import logits_model

    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 48, 3)).astype(np.float32)
    logits = np.asarray(logits_model(CANet("compact", classes=6))(images))
    assert (logits < 0).any()
    assert (logits > 0).any()


def test_context_reaches_over_the_whole_image():
    from model import CANet
    from model.outputs import logits_model

    network = logits_model(CANet("compact", classes=3))
    images = np.random.default_rng(0).uniform(0, 255, (1, 128, 192, 3)).astype(np.float32)
    changed = images.copy()
    changed[:, 120:, 184:] = 0
    difference = np.abs(np.asarray(network(images)) - np.asarray(network(changed)))
    assert difference[:, :8, :8].max() > 0  # by the global flow


def test_a_weight_file_of_the_encoder_is_loaded(tmp_path):
    from model import CANet
    from model.weights import save_legacy_weights

    path = tmp_path / "encoder.h5"
    other = CANet("resnet34", classes=2)
    save_legacy_weights(other, path)
    loaded = CANet("resnet34", classes=5, encoder_weights=path)
    for name in ("conv0", "stage4_unit3_conv2", "bn1"):
        for a, b in zip(other.get_layer(name).get_weights(), loaded.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_whole_network_is_saved_and_read_back_by_keras(tmp_path):
    import keras

    from model import CANet

    model = CANet("compact", classes=3)
    model.save(tmp_path / "canet.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 24, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "canet.keras")(images), model(images), atol=1e-6)


def test_group_normalisation_and_synchronised_statistics_are_choices():
    from keras import layers

    from model import CANet

    for arguments, kind in (({"normalization": "group"}, layers.GroupNormalization), ({}, layers.BatchNormalization)):
        model = CANet("compact", classes=3, bn_synchronized=True, bn_momentum=0.8, **arguments)
        norms = [layer for layer in model.layers if layer.name.endswith("_bn")]
        assert norms
        assert all(isinstance(layer, kind) for layer in norms)
    assert all(layer.synchronized and layer.momentum == 0.8 for layer in norms)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone_name": "vgg"}, "backbone 'vgg' is unknown; there are compact, resnet34, resnet50, resnet101"),
        ({"input_shape": (64, 100, 3)}, "width 100 is not a multiple of 8"),
        ({"backbone_name": "compact", "auxiliary": True}, "the compact form has neither an auxiliary head nor weights"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    from model import CANet

    with pytest.raises(ValueError, match=message):
        CANet(**arguments)

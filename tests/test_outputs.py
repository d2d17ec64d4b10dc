"""Networks without their activation: one output to score, all outputs to train."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)


def build(name):
    from model import CANet, Unet

    if name == "unet":
        return Unet("resnet18", classes=4, activation="softmax", encoder_weights=None, decoder_filters=(8, 8, 8, 4, 4))
    return CANet("resnet34", classes=4, auxiliary=name == "canet with auxiliary head")


@pytest.mark.parametrize("name", ["unet", "canet", "canet with auxiliary head"])
def test_logits_model_shares_weights_and_leaves_the_activation_out(tensorflow_ready, name):
    import keras

    from model.outputs import logits_model

    model = build(name)
    probabilities = keras.tree.flatten(model(IMAGES))[0]
    logits = logits_model(model)(IMAGES)
    np.testing.assert_allclose(tensorflow_ready.nn.softmax(logits), probabilities, atol=1e-6)


def test_the_auxiliary_head_is_trained_saved_and_not_evaluated(tmp_path):
    from model.outputs import logits_model, training_model

    model = build("canet with auxiliary head")
    main, auxiliary = training_model(model)(IMAGES)
    assert main.shape == auxiliary.shape == (1, 32, 64, 4)
    trained = {weight.path for weight in training_model(model).trainable_weights}
    assert trained == {weight.path for weight in model.trainable_weights}
    assert any(path.startswith("auxiliary") for path in trained)
    assert not any(layer.name.startswith("auxiliary") for layer in logits_model(model).layers)
    np.testing.assert_allclose(logits_model(model)(IMAGES), main, atol=1e-6)
    model.save_weights(tmp_path / "model.weights.h5")
    other = build("canet with auxiliary head")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(training_model(other)(IMAGES)[1], auxiliary, atol=1e-5)


def test_without_an_auxiliary_head_training_sees_one_tensor():
    from model.outputs import training_model

    assert training_model(build("canet")).output_shape == (None, None, None, 4)

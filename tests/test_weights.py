"""Weight files in Keras 2's layout: written, read, with the library too where it is, and refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from configs.commands import UserError
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "tests" / "data" / "make_golden_unet.py"


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.fixture
def library():
    """Runs the golden script in the library's own environment (make bench-step makes it)."""
    python = Path(os.environ.get("STREETMASK_PEER_PYTHON", REPOSITORY / ".peers" / "step" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"{python}: segmentation_models is not installed there; make bench-step does it")

    def run(*arguments):
        done = subprocess.run([python, SCRIPT, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1] if done.stdout else ""

    return run


def small(seed=0, **arguments):
    """A small UNET, its weights drawn from a seed, moving statistics too."""
    from model import Unet

    options = {"classes": 3, "encoder_weights": None, "decoder_filters": (8, 8, 8, 4, 4), **arguments}
    model = Unet("resnet18", **options)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape).astype(np.float32))
    return model


def weights_of(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


def test_a_file_gives_back_every_weight(tmp_path):
    from model.weights import load_legacy_weights, save_legacy_weights

    one, two = small(1), small(2)
    save_legacy_weights(one, tmp_path / "x.h5")
    load_legacy_weights(two, tmp_path / "x.h5")
    expected, found = weights_of(one), weights_of(two)
    assert len(found) == len(two.weights)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_layout_is_keras_2s(tmp_path):
    from model.weights import save_legacy_weights

    model = small()
    save_legacy_weights(model, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file.attrs["backend"] == "tensorflow"
        names = [name.decode() for name in file.attrs["layer_names"]]
        assert names == [layer.name for layer in model.layers if layer.weights]
        assert [name.decode() for name in file["bn0"].attrs["weight_names"]] == [
            *("bn0/gamma:0", "bn0/beta:0", "bn0/moving_mean:0", "bn0/moving_variance:0")
        ]
        np.testing.assert_array_equal(file["conv0/conv0/kernel:0"], model.get_layer("conv0").kernel)


def test_a_whole_saved_model_and_keras_3s_own_h5_files_are_read_too(tmp_path):
    from model.weights import load_legacy_weights

    one, two = small(1), small(2)
    one.save_weights(tmp_path / "whole.weights.h5")  # Keras 3's layout: not this one
    with pytest.raises(UserError, match=r"whole\.weights\.h5: it is of another network"):
        load_legacy_weights(two, tmp_path / "whole.weights.h5")
    one.save(tmp_path / "model.h5")
    load_legacy_weights(two, tmp_path / "model.h5")
    np.testing.assert_array_equal(two.get_layer("bn1").moving_mean, one.get_layer("bn1").moving_mean)


def test_weights_and_encoder_weights_are_loaded_by_the_network_itself(tmp_path):
    from model.weights import save_legacy_weights

    one = small(1)
    save_legacy_weights(one, tmp_path / "x.h5")
    whole, encoder = small_from(weights=tmp_path / "x.h5"), small_from(encoder_weights=tmp_path / "x.h5")
    for name in ("conv0", "stage3_unit2_conv1", "final_conv"):
        np.testing.assert_array_equal(whole.get_layer(name).kernel, one.get_layer(name).kernel)
    np.testing.assert_array_equal(encoder.get_layer("conv0").kernel, one.get_layer("conv0").kernel)
    assert (np.asarray(encoder.get_layer("final_conv").kernel) != np.asarray(one.get_layer("final_conv").kernel)).all()


def small_from(**arguments):
    from model import Unet

    return Unet("resnet18", classes=3, decoder_filters=(8, 8, 8, 4, 4), **{"encoder_weights": None, **arguments})


def change(path, name, value=None):
    """Take a group or dataset out of a file, or put another in its place."""
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv0", None, "x.h5: 1 of 61 layers with weights are not in it: conv0$"),
        (
            "bn0/bn0/gamma:0",
            None,
            "layer 'bn0' has beta, moving_mean, moving_variance in it, the network's beta, gamma",
        ),
        (
            "conv0/conv0/kernel:0",
            np.zeros((3, 3, 3, 64)),
            r"'kernel' of layer 'conv0' has shape \(3, 3, 3, 64\), the netw",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(tmp_path, name, value, message):
    from model.weights import load_encoder, load_legacy_weights, save_legacy_weights

    save_legacy_weights(small(1), tmp_path / "x.h5")
    change(tmp_path / "x.h5", name, value)
    model = small(2)
    before = weights_of(model)
    for load in (load_legacy_weights, load_encoder):
        with pytest.raises(UserError, match=message):
            load(model, tmp_path / "x.h5")
    for path, weight in weights_of(model).items():
        np.testing.assert_array_equal(weight, before[path])


def test_many_missing_layers_are_counted(tmp_path):
    import keras

    from model.weights import load_legacy_weights, save_legacy_weights

    model = small()
    save_legacy_weights(keras.Model(model.input, model.get_layer("relu1").output), tmp_path / "x.h5")
    # Five stages of two convolutions and two normalisations, and the last convolution.
    expected = r"21 of 61 layers with weights are not in it: decoder_stage0a_conv, .*_bn, .*_conv and 18 more$"
    with pytest.raises(UserError, match=expected):
        load_legacy_weights(model, tmp_path / "x.h5")


def test_an_encoders_file_may_hold_a_head_but_a_networks_may_not(tmp_path):
    from model.weights import load_encoder, load_legacy_weights, save_legacy_weights

    one, two = small(1), small(2)
    save_legacy_weights(one, tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["fc1/fc1/kernel:0"] = np.zeros((512, 1000), np.float32)
    load_encoder(two, tmp_path / "x.h5")
    np.testing.assert_array_equal(two.get_layer("conv0").kernel, one.get_layer("conv0").kernel)
    with pytest.raises(UserError, match="it is of another network: this one has no fc1"):
        load_legacy_weights(two, tmp_path / "x.h5")


def test_batch_statistics_are_not_poured_into_group_normalisation(tmp_path):
    from model.weights import save_legacy_weights

    save_legacy_weights(small(1), tmp_path / "x.h5")
    with pytest.raises(UserError, match=r"layer 'bn_data' has beta, moving_mean, .* in it, the network's beta"):
        small_from(encoder_weights=tmp_path / "x.h5", normalization="group")


def test_files_that_are_none_are_refused(tmp_path):
    from model.weights import load_encoder, read_legacy_weights

    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(UserError, match=r"text\.h5: it cannot be read as a file of weights in HDF5"):
        load_encoder(small(), tmp_path / "text.h5")
    with pytest.raises(UserError, match=r"none\.h5: there is no such file"):
        read_legacy_weights(tmp_path / "none.h5")


def test_links_to_other_files_are_not_followed(tmp_path):
    from model.weights import read_legacy_weights

    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel:0"] = np.ones(3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["conv0"] = h5py.ExternalLink("secret.h5", "/")
        file["bn0/bn0/beta:0"] = np.zeros(2)
    assert list(read_legacy_weights(tmp_path / "x.h5")) == ["bn0"]


def test_a_run_whose_weights_cannot_be_had_is_not_begun(tiny_records, tmp_path, monkeypatch, capsys):
    from configs.commands import EXIT_USER_ERROR, run_command
    from model.train import main

    monkeypatch.setenv("STREETMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STREETMASK_WEIGHTS_MIRROR", "http://127.0.0.1:9")  # the port that discards: nobody answers
    arguments = ["--data", str(tiny_records), "--run", str(tmp_path / "run")]
    for weights, message in (
        ("imagenet", f"put that file (md5 318e3ac0cd98d51e917526c9f62f0b50) at {tmp_path / 'cache'}"),
        (str(tmp_path / "none.h5"), "none.h5: there is no such file; it is a path, 'imagenet' or nothing"),
    ):
        status = run_command(main, [*arguments, "--set", f"model.encoder_weights={weights}"])
        assert status == EXIT_USER_ERROR
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_the_library_reads_our_files_and_we_read_its(case, library, tmp_path):
    import keras

    from model import Unet
    from model.weights import save_legacy_weights

    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import filled
    finally:
        sys.path.remove(str(SCRIPT.parent))
    golden = np.load(SCRIPT.with_name("golden_unet.npz"))[f"{case}/linear"]
    library("--write", tmp_path / "theirs.h5", "--case", case)
    library("--write", tmp_path / "encoder.h5", "--case", case, "--encoder")
    model = Unet(case, classes=5, activation="linear", weights=tmp_path / "theirs.h5", encoder_weights=None)
    output = filled.sampled(keras.ops.convert_to_numpy(model(filled.image(64, 96), training=False)))
    np.testing.assert_allclose(output, golden, rtol=0, atol=1e-5)
    encoder = Unet(case, classes=5, encoder_weights=tmp_path / "encoder.h5")
    np.testing.assert_array_equal(encoder.get_layer("bn1").moving_mean, model.get_layer("bn1").moving_mean)
    save_legacy_weights(model, tmp_path / "ours.h5")
    assert float(library("--check", tmp_path / "ours.h5", "--case", case)) <= 1e-6

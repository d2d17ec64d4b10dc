"""Mixed precision: which one a machine takes, and what of a network stays in float32."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu amx_tile amx_bf16 avx2", "bfloat16"), ("fpu avx512_bf16 avx2", "float32")]
)
def test_auto_is_bfloat16_on_a_processor_with_amx(tensorflow_ready, tmp_path, flags, expected):
    from model.precision import chosen

    if tensorflow_ready.config.list_physical_devices("GPU"):
        pytest.skip("the GPU decides")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert chosen("auto", tmp_path / "cpuinfo") == expected
    assert chosen("auto", tmp_path / "missing") == "float32"
    assert chosen("float16", tmp_path / "cpuinfo") == "float16"


@pytest.mark.parametrize("name", ["unet", "canet_compact"])
def test_weights_normalised_input_and_logits_stay_in_float32(tensorflow_ready, name):
    import keras

    from model.outputs import logits_model
    from model.recipe import ModelOptions, build_network

    options = {"backbone": "resnet18", "decoder_filters": (8, 8, 8, 4, 4)} if name == "unet" else {}
    networks = []
    for precision in ("float32", "bfloat16"):
        keras.utils.set_random_seed(1)
        networks.append(logits_model(build_network(ModelOptions(name=name, **options), 3, precision=precision)))
    assert keras.config.dtype_policy().name == "float32"
    full, mixed = networks
    mixed.set_weights(full.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    first = {"unet": "bn_data", "canet_compact": "normalization"}[name]
    assert mixed.get_layer(first).compute_dtype == "float32"
    convolutions = {layer.compute_dtype for layer in mixed.layers if "conv" in layer.name and "final" not in layer.name}
    assert convolutions == {"bfloat16"}
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)
    expected, found = full(image), mixed(image)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=0.1 * float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) > 0

"""Summaries: operations worked by hand and against TensorFlow's own count, and the table as a person asks for it."""

import re

import pytest

from configs.commands import run_command
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def operations(layer, *shapes):
    import keras

    from model.summary import operations_of

    inputs = [keras.layers.Input(shape) for shape in shapes]
    layer(*inputs)
    return operations_of(layer)


def test_operations_worked_by_hand():
    from keras import layers

    from model.enlarging import Enlarge, EnlargeLike

    # Output 4x6x5 = 120 values, each of 3·3·2 multiply-adds, and a bias.
    assert operations(layers.Conv2D(5, 3, padding="same"), (4, 6, 2)) == 120 * (2 * 18 + 1)
    assert operations(layers.Conv2D(5, 3, padding="same", use_bias=False, strides=2), (4, 6, 2)) == 30 * 2 * 18
    assert operations(layers.Conv2D(6, 3, padding="same", use_bias=False, groups=2), (4, 6, 2)) == 144 * 2 * 9
    # Each of 48 values sees 3x3 of its own channel only.
    assert operations(layers.DepthwiseConv2D(3, padding="same", use_bias=False), (4, 6, 2)) == 48 * 2 * 9
    # Each of 48 values is spread over 4x4x5; 8x12x5 biases.
    assert operations(layers.Conv2DTranspose(5, 4, strides=2, padding="same"), (4, 6, 2)) == 48 * 2 * 80 + 480
    assert operations(layers.Dense(7), (3,)) == 7 * 2 * 3 + 7
    assert operations(layers.BatchNormalization(), (4, 6, 2)) == 2 * 48
    assert operations(layers.AveragePooling2D(2), (4, 6, 2)) == 48
    assert operations(layers.GlobalAveragePooling2D(), (4, 6, 2)) == 48
    # Along the height to 8x6x2 = 96 values, then along the width to 192.
    assert operations(Enlarge(2), (4, 6, 2)) == 3 * (96 + 192)
    assert operations(EnlargeLike(2), (4, 6, 2), (7, 11, 3)) == 3 * (96 + 192)


def test_a_layer_that_is_not_known_is_refused():
    from keras import layers

    with pytest.raises(NotImplementedError, match="operations of a LayerNormalization"):
        operations(layers.LayerNormalization(), (4, 6, 2))


@pytest.mark.parametrize("name", ["unet", "compact"])
def test_convolutions_have_tensorflows_own_count(tensorflow_ready, name):
    from model import CANet, Unet
    from model.outputs import logits_model
    from model.summary import at_size, layer_rows

    tf = tensorflow_ready
    model = Unet("resnet18", classes=4, encoder_weights=None) if name == "unet" else CANet("compact", classes=4)
    network = at_size(logits_model(model), (64, 96))
    ours = sum(
        row.operations - (row.values if network.get_layer(row.name).use_bias else 0)
        for row in layer_rows(network)
        if row.kind == "Conv2D"
    )
    graph = tf.function(network).get_concrete_function(tf.TensorSpec((1, 64, 96, 3))).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options.build())
    counts = {}
    node = profile
    while node.children:
        (node,) = node.children[:1]
        counts[node.name] = node.float_ops
    assert counts["Conv2D"] == ours


def test_the_table_names_layers_parameters_and_operations(capsys):
    from model.summary import main

    unet = ["--config", str(REPOSITORY / "configs" / "camvid_unet.yaml")]
    main(
        [*unet, "--set", "model.name=canet", "--set", "model.backbone=resnet34", "--classes", "21", "--size", "60x100"]
    )
    printed = capsys.readouterr().out
    assert "canet resnet34, 21 classes, image 64x104" in printed  # multiples of 8
    assert re.search(r"final_conv +Conv2D +16x26x21 +5,397 +4\.48\n", printed)  # 16·26·21·(2·256 + 1)
    assert re.search(r"stage4_unit3_conv2 +Conv2D +8x13x512 +2,359,296 +490\.73\n", printed)  # 2·8·13·2,359,296
    assert "596,245   more in the auxiliary head" in printed  # 9·256·256 + 4·256 + 257·21
    assert re.search(r"FLOPs +[\d,]+   an image", printed)


def test_classes_are_those_of_the_records(tiny_records, capsys):
    from model.summary import main

    main(["--set", f"data.records={tiny_records}", "--size", "32x64"])
    assert "unet resnet18, 11 classes, image 32x64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "data.records=/nowhere"], "or pass --classes N"),
        (["--classes", "0"], "--classes 0: expected 1 or more"),
        (["--size", "32"], "'32' is not HxW"),
        (["--set", "model.name=canet"], "backbone: canet has resnet34, resnet50, resnet101, not resnet18"),
        (["--set", "model.name=canet_compact"], "backbone: canet_compact has none, leave it out"),
        (["--set", "model.auxiliary_weight=0.2"], "auxiliary_weight: unet has none, leave it out"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(capsys, arguments, message):
    from model.summary import main

    assert run_command(main, arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1

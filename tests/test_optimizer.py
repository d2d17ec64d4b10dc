"""The fused AdamW is Keras' own: same variables and state after some steps, alone and on two replicas."""

from __future__ import annotations

import numpy as np
import pytest

SHAPES = ((3, 4), (5,), ())


def trained(tf, strategy, make, steps=5, **arguments):
    """Values of variables and optimizer state after some steps with seeded gradients."""
    import keras

    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
    gradients = [[random.normal(size=shape).astype(np.float32) for shape in SHAPES] for _ in range(steps)]
    with strategy.scope():
        variables = [keras.Variable(value, name=name) for value, name in zip(start, ("kernel", "bias", "gamma"))]
        optimizer = make(**{"learning_rate": 0.01, "weight_decay": 0.1, **arguments})
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
        optimizer.build(variables)
    shares = strategy.num_replicas_in_sync

    @tf.function
    def step(values):
        strategy.run(lambda: optimizer.apply([value / shares for value in values], variables))

    for values in gradients:
        step([tf.constant(value) for value in values])
    return [np.asarray(tf.convert_to_tensor(variable.value)) for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize("replicas", [1, 2])
def test_variables_and_state_are_keras(tensorflow_ready, two_cpu_devices, replicas):
    import keras

    from model.optimizer import AdamW

    tf = tensorflow_ready
    strategy = tf.distribute.get_strategy()
    if replicas == 2:
        # Not by collectives: a process can run those of one strategy only, which another test may have made.
        strategy = tf.distribute.MirroredStrategy(two_cpu_devices, tf.distribute.ReductionToOneDevice())
    ours, own = (trained(tf, strategy, make) for make in (AdamW, keras.optimizers.AdamW))
    assert len(ours) == len(own) == 3 + 2 + 2 * 3  # variables, iterations and rate, two moments each
    for one, other in zip(ours, own, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-7)


def test_first_step_worked_by_hand(tensorflow_ready):
    from model.optimizer import AdamW

    tf = tensorflow_ready
    # The first step of Adam is the rate times the gradient's sign; decay takes 0.01 · 0.1 of the kernel before.
    start = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    kernel, *_ = trained(tf, tf.distribute.get_strategy(), AdamW, steps=1)
    random = np.random.default_rng(0)
    for shape in SHAPES:
        random.normal(size=shape)
    gradient = random.normal(size=(3, 4))
    np.testing.assert_allclose(kernel, start * (1 - 0.001) - 0.01 * np.sign(gradient), atol=1e-5)


def test_amsgrad_is_left_to_keras(tensorflow_ready):
    import keras

    from model.optimizer import AdamW

    tf = tensorflow_ready
    strategy = tf.distribute.get_strategy()
    ours, own = (trained(tf, strategy, make, amsgrad=True) for make in (AdamW, keras.optimizers.AdamW))
    for one, other in zip(ours, own, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_kernel_is_what_runs(tensorflow_ready):
    import keras

    from model.optimizer import AdamW

    tf = tensorflow_ready
    variable = keras.Variable(np.zeros((2, 3), np.float32))
    optimizer = AdamW(0.01)
    optimizer.build([variable])
    graph = tf.function(lambda: optimizer.apply([tf.ones((2, 3))], [variable])).get_concrete_function().graph
    assert "ResourceApplyAdam" in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_factor_scales_the_update_of_its_variables_alone(tensorflow_ready, name):
    import keras

    from model import optimizer

    tf = tensorflow_ready
    variables = [keras.Variable(np.full((2, 3), 5.0, np.float32)) for _ in range(2)]
    made = getattr(optimizer, name)(0.1, weight_decay=0.01)
    made.build(variables)
    made.scale_updates(variables[:1], 0.25)
    made.apply([tf.fill((2, 3), 0.5)] * 2, variables)
    first, second = (5.0 - variable.numpy() for variable in variables)
    assert (second > 0.01).all()
    np.testing.assert_allclose(first, 0.25 * second, rtol=1e-4)


def test_decay_of_sgd_is_part_of_the_momentum(tensorflow_ready):
    """Two steps of v = 0.9 v - 0.1 (g + 0.2 w), w += v, worked by hand."""
    import keras

    from model.optimizer import SGD

    variable, weight, velocity = keras.Variable(np.full((2, 3), 1.0, np.float32)), 1.0, 0.0
    optimizer = SGD(0.1, momentum=0.9, weight_decay=0.2)
    optimizer.build([variable])
    for gradient in (0.5, -0.25):
        optimizer.apply([tensorflow_ready.fill((2, 3), gradient)], [variable])
        velocity = 0.9 * velocity - 0.1 * (gradient + 0.2 * weight)
        weight += velocity
    np.testing.assert_allclose(variable.numpy(), weight, rtol=1e-6)


def test_the_encoder_is_what_lies_below_the_end_of_its_resnet(tensorflow_ready):
    from model.recipe import ModelOptions, build_network, encoder_variables

    network = build_network(ModelOptions(backbone="resnet18", decoder_filters=(8, 8, 8, 4, 4)), 3)
    encoder = {variable.path for variable in encoder_variables(network)}
    others = {variable.path for variable in network.trainable_variables} - encoder
    assert len(encoder) > 50
    assert {path.split("/")[0].split("_")[0] for path in others} == {"decoder", "final"}
    assert not any(path.startswith("bn_data") for path in encoder)  # the input's offset is not trained

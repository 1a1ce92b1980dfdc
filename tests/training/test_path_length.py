"""How far updates move the weights, against steps written out in numpy and weights subtracted."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from load_tf.training.optimizers import NesterovL2
from load_tf.training.path_length import step_norm
from load_tf.training.segmentor import AdversarialTraining
from load_tf.training.supervised import SupervisedTrainer

K, CROP = 3, (17, 33)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_the_norm_of_a_step_by_hand(momentum: float, nesterov: bool, clip: float | None) -> None:
    """Two variables, three updates: the velocity, what Nesterov adds, the bound on both gradients together."""
    random = np.random.default_rng(0)
    shapes = [(2, 3), (4,)]
    variables = [keras.Variable(np.zeros(shape, np.float32), name=f"v{len(shape)}") for shape in shapes]
    optimizer = keras.optimizers.SGD(0.25, momentum=momentum, nesterov=nesterov, global_clipnorm=clip)
    optimizer.build(variables)
    velocity = [np.zeros(shape) for shape in shapes]
    for _ in range(3):
        gradients = [random.normal(size=shape) for shape in shapes]
        before = [v.numpy().copy() for v in variables]
        given = [tf.constant(g, tf.float32) for g in gradients]
        optimizer.apply(given, variables)
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5
        scale = 1.0 if clip is None else clip / norm
        velocity = [momentum * v - 0.25 * scale * g for v, g in zip(velocity, gradients, strict=True)]
        steps = velocity
        if nesterov and momentum:
            steps = [momentum * v - 0.25 * scale * g for v, g in zip(velocity, gradients, strict=True)]
        expected = np.sqrt(sum((s**2).sum() for s in steps))
        assert float(step_norm(optimizer, given, tf.constant(0.25), variables)) == pytest.approx(expected, rel=1e-5)
        moved = np.sqrt(sum(((v.numpy() - b) ** 2).sum() for v, b in zip(variables, before, strict=True)))
        assert moved == pytest.approx(expected, rel=1e-5)


def test_weight_decay_is_part_of_the_step() -> None:
    """Hung et al.'s optimizer adds the weights to the gradient; what it moved, by subtraction."""
    variable = keras.Variable(np.array([3.0, -1.0], np.float32))
    optimizer = NesterovL2(0.1, 0.5, 0.2, "own")
    optimizer.build([variable])
    for gradient in ([1.0, 0.5], [-0.5, 2.0], [0.0, 0.1]):
        before = variable.numpy().copy()
        optimizer.apply([tf.constant(gradient)], [variable])
        found = float(step_norm(optimizer, [tf.constant(gradient)], tf.constant(0.1), [variable]))
        assert found == pytest.approx(np.linalg.norm(variable.numpy() - before), rel=1e-5)


def test_a_variable_without_a_gradient_stands_still() -> None:
    variables = [keras.Variable([1.0, 1.0], name="a"), keras.Variable([1.0], name="b")]
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(variables)
    assert float(step_norm(optimizer, [tf.constant([3.0, 4.0]), None], tf.constant(0.5), variables)) == pytest.approx(
        2.5
    )


def segmentor() -> keras.Model:
    random = np.random.default_rng(1)
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu")(keras.layers.Rescaling(0.01)(images))
    model = keras.Model(images, keras.layers.Conv2D(K, 1, name="logits")(x))
    model.set_weights([random.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def batch() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(2)
    return {
        "images": tf.constant(random.uniform(0, 255, (4, *CROP, 3)), tf.float32),
        "truth": tf.constant(random.integers(0, K, (4, *CROP)), tf.uint8),
    }


def make(**settings) -> SupervisedTrainer:
    chosen = AdversarialTraining(**{"batch_size": 4, "learning_rate": 0.1, **settings})
    one = SupervisedTrainer(segmentor(), chosen, CROP, K, tf.distribute.get_strategy())
    one.train_dataset = tf.data.Dataset.from_tensors(batch()).repeat()
    return one


@pytest.mark.parametrize("settings", [{"clip_norm": 0.01}, {"accumulate": 2, "trainable": "logits"}, {"momentum": 0.0}])
def test_the_path_of_an_iteration_is_what_its_updates_moved(settings: dict) -> None:
    """One trainer makes three updates at once, the other one at a time, and the weights are subtracted."""
    steps, one = [], make(**settings)
    for _ in range(3):
        before = [v.numpy() for v in one.segmentor.variables]
        measured = one.train(tf.constant(1))["path_length"]
        moved = [v.numpy() - b for v, b in zip(one.segmentor.variables, before, strict=True)]
        steps.append(np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in moved)))
        assert measured == pytest.approx(steps[-1], rel=1e-3)
    assert make(**settings).train(tf.constant(3))["path_length"] == pytest.approx(sum(steps), rel=1e-3)


def test_at_a_steady_gradient_the_step_is_rate_times_bound_over_one_less_momentum() -> None:
    """Whatever the gradient's own norm: what makes methods comparable."""
    for norm in (2.0, 40.0):
        variable = keras.Variable([0.0, 0.0], name="v")
        optimizer = keras.optimizers.SGD(0.001, momentum=0.9, global_clipnorm=1.0)
        optimizer.build([variable])
        gradient = tf.constant([0.6 * norm, 0.8 * norm])
        for _ in range(150):
            optimizer.apply([gradient], [variable])
        assert float(step_norm(optimizer, [gradient], tf.constant(0.001), [variable])) == pytest.approx(0.01, rel=1e-4)


def test_an_update_that_is_not_made_is_no_part_of_the_path() -> None:
    one = make()
    one.segmentor.get_layer("logits").bias.assign([np.inf, 0, 0])
    measured = one.train(tf.constant(2))
    assert measured["finite"] is False and measured["path_length"] == 0.0


def test_a_decaying_rate_is_the_one_the_update_took() -> None:
    """Without momentum and with a bound that always acts a step is rate times bound; the fourth update is the last."""
    chosen = AdversarialTraining(batch_size=4, learning_rate=0.1, momentum=0.0, clip_norm=0.01)
    one = SupervisedTrainer(segmentor(), chosen, CROP, K, tf.distribute.get_strategy(), decay_over=4)
    one.train_dataset = tf.data.Dataset.from_tensors(batch()).repeat()
    for update in range(4):
        measured = one.train(tf.constant(1))
        assert measured["gradient_norm"] > 0.01
        assert measured["path_length"] == pytest.approx(0.001 * (1 - update / 4) ** 0.9, rel=1e-4)

"""What Keras does around a model on a mesh: fit, callbacks, checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from mesh_models import BATCH, LENGTH, compiled, functional, mixture_of, parts_of, tokens, train
from moe_zoo import routing_stats
from moe_zoo.distribution import ExpertParallel
from moe_zoo.export import export_saved_model
from moe_zoo.tensorboard import RoutingCallback

X, Y = tokens(3)


# === Keras around it ===


@pytest.mark.slow
def test_fit_evaluate_and_predict_agree_with_one_device():
    plain, model = compiled(functional), compiled(functional)
    ExpertParallel("expert=4").distribute(model)
    weights = np.linspace(0.5, 1.5, Y.size).reshape(Y.shape)
    results = []
    for one in (plain, model):
        history = one.fit(
            X,
            Y,
            batch_size=BATCH,
            sample_weight=weights,
            validation_data=(X[:21], Y[:21]),
            shuffle=False,
            verbose=0,
        ).history
        history = {name.split("moe")[0] + name[-8:]: values for name, values in history.items()}
        results.append((history, one.evaluate(X, Y, verbose=0), one.predict(X[:21], verbose=0)))
    (history, scores, outputs), (other_history, other_scores, other_outputs) = results
    assert history.keys() == other_history.keys() and "val_accuracy" in str(history.keys())
    for name, values in history.items():
        np.testing.assert_allclose(other_history[name], values, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(other_scores, scores, atol=1e-5)
    np.testing.assert_allclose(other_outputs, outputs, atol=1e-4)


@pytest.mark.slow
def test_data_sets_and_several_steps_at_a_time():
    expected = train(compiled(functional), 3)[-1]
    model = compiled(functional, steps_per_execution=2)
    ExpertParallel("expert=2").distribute(model)
    data = tf.data.Dataset.from_tensor_slices(tokens(3)).batch(BATCH)
    history = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], expected, atol=1e-5)
    assert len(history["loss"]) == 2
    assert int(model.optimizer.iterations.numpy()) == 6


@pytest.mark.slow
def test_routing_statistics_and_callback(tmp_path):
    plain, model = compiled(functional), compiled(functional)
    ExpertParallel("expert=4").distribute(model)
    found = []
    for one, name in ((plain, "plain"), (model, "mesh")):
        train(one, 2, validation_data=(X[:BATCH], Y[:BATCH]))
        one.fit(
            *tokens(1), batch_size=BATCH, verbose=0, callbacks=[RoutingCallback(tmp_path / name)]
        )
        found.append(next(iter(routing_stats(one).values())))
    for field in ("load", "demand", "importance"):
        np.testing.assert_allclose(getattr(found[1], field), getattr(found[0], field), rtol=1e-5)
    assert found[1].tokens == 3 * BATCH * LENGTH
    assert list((tmp_path / "mesh").rglob("events*"))


def test_weights_are_read_and_set_whole(trained):
    model, _ = trained
    weights = model.get_weights()
    model.set_weights([np.ones_like(weight) for weight in weights])
    for weight in model.get_weights():
        np.testing.assert_array_equal(weight, np.ones_like(weight))


@pytest.mark.slow
def test_compiling_anew_after_placing(trained):
    model, _ = trained
    model.compile("sgd", model.loss)
    train(model, 1)
    assert parts_of(mixture_of(model).experts.kernel_in) == {(2, 16, 32)}


# === Checkpoints ===


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_checkpoints_move_between_meshes(trained, tmp_path, suffix):
    """Saved on 4 devices, restored on 2 x 4, on 2 and on none: the next losses are the same."""
    model, _ = trained
    path = str(tmp_path / f"model{suffix}")
    (model.save if suffix == ".keras" else model.save_weights)(path)
    saved = [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]
    expected = train(model, 2)
    for mesh in ("batch=2,expert=4", "expert=2", None):
        if suffix == ".keras":
            restored = keras.models.load_model(path)
        else:
            restored = compiled(functional)
            restored.optimizer.build(restored.trainable_variables)
        if mesh:
            ExpertParallel(mesh).distribute(restored)
        if suffix != ".keras":
            restored.load_weights(path)
        values = [*restored.variables, *restored.optimizer.variables]
        for value, before in zip(values, saved, strict=True):
            np.testing.assert_array_equal(value.numpy(), before, err_msg=value.path)
        if mesh:  # one device alone has sparse gradients of its embedding
            np.testing.assert_allclose(train(restored, 2), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_keras_callbacks_that_save(tmp_path):
    """ModelCheckpoint, and BackupAndRestore on a mesh of another size."""
    undisturbed = compiled(functional)
    train(undisturbed, 2, epochs=3)

    def run(mesh, epochs):
        model = compiled(functional)
        ExpertParallel(mesh).distribute(model)
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss"),
        ]
        model.fit(
            *tokens(2), batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0,
            callbacks=callbacks,
        )  # fmt: skip
        return model

    run("expert=4", 2)
    resumed = run("expert=2", 3)
    assert int(resumed.optimizer.iterations.numpy()) == 6
    best = keras.models.load_model(tmp_path / "best.keras")
    for variable, other, saved in zip(
        undisturbed.trainable_variables,
        resumed.trainable_variables,
        best.trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(other.numpy(), variable.numpy(), atol=1e-4)
        np.testing.assert_array_equal(saved.numpy(), other.numpy())


@pytest.mark.slow
def test_a_gathered_model_is_a_plain_one_and_exports(trained, tmp_path):
    model, parallel = trained
    before = model.predict(X[:BATCH], verbose=0)
    parallel.gather(model)
    assert not any(isinstance(v._value, dtensor.DVariable) for v in model.variables)
    np.testing.assert_allclose(model.predict(X[:BATCH], verbose=0), before, atol=1e-5)
    np.testing.assert_allclose(model(X[:BATCH]), before, atol=1e-5)
    export_saved_model(model, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    row = served.serve(tf.constant(X[:1]))
    np.testing.assert_allclose(row, served.serve(tf.constant(X[:5]))[:1], atol=1e-5)
    train(model, 1)  # and trains on

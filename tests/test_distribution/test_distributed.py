"""`with ExpertParallel(...).distributed(model)`: on the mesh in the block, off it afterwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mesh_models import BATCH, compiled, functional, parts_of, tokens, train
from moe_zoo.distribution import ExpertParallel, WorkerLostError
from moe_zoo.distribution.environment import PRIVATE_NAMES, check_private_names
from moe_zoo.experts import FeedForwardExperts
from moe_zoo.layers import MoE
from moe_zoo.routers import SwitchRouter


def tiny():
    """An unbuilt model of one mixture."""
    return keras.Sequential([MoE(SwitchRouter(), FeedForwardExperts(4, 3)), keras.layers.Dense(2)])


def is_on_mesh(model):
    return hasattr(model, "expert_parallel"), {type(v._value).__name__ for v in model.variables}


ON_MESH = (True, {"ShardedVariable"})
OFF_MESH = (False, {"ResourceVariable"})


def test_the_model_is_on_the_mesh_within_the_block():
    parallel = ExpertParallel("expert=2")
    model = tiny()
    with parallel.distributed(model) as mesh:
        assert mesh is parallel
        model.compile("sgd", "mse")  # neither compiled nor built before
        model.fit(tf.ones([4, 5]), tf.ones([4, 2]), verbose=0)
        assert is_on_mesh(model) == ON_MESH
        assert parts_of(model.layers[0].experts.kernel_in) == {(2, 5, 3)}
    assert is_on_mesh(model) == OFF_MESH
    with parallel.distributed(model):  # again, now that it is built and compiled
        assert is_on_mesh(model) == ON_MESH
    assert model.predict(tf.ones([3, 5]), verbose=0).shape == (3, 2)


def test_it_is_gathered_after_an_error():
    model = tiny()
    model.build((None, 5))
    with pytest.raises(KeyboardInterrupt), ExpertParallel("expert=2").distributed(model):
        raise KeyboardInterrupt
    assert is_on_mesh(model) == OFF_MESH


def test_a_model_that_the_mesh_cannot_run_is_left_alone():
    model = tiny()
    model.build((None, 5))
    with pytest.raises(ValueError, match="a number of experts that the mesh axis expert=3 divides"):
        with ExpertParallel("expert=3").distributed(model):
            raise AssertionError("not reached")
    assert is_on_mesh(model) == OFF_MESH


def test_a_model_is_on_one_mesh_at_a_time():
    model = tiny()
    model.build((None, 5))
    with ExpertParallel("expert=2").distributed(model):
        with pytest.raises(
            ValueError, match="on no mesh. Received: 'sequential', which is on expe"
        ):
            with ExpertParallel("expert=4").distributed(model):
                raise AssertionError("not reached")
        assert is_on_mesh(model) == ON_MESH
    assert is_on_mesh(model) == OFF_MESH


class Unreadable(ExpertParallel):
    """Its models cannot be gathered any more, as if the devices were gone."""

    lost = False

    def gather(self, model):
        if self.lost:
            raise OSError("the devices are gone")
        super().gather(model)


def test_gathering_fails_after_another_error():
    model, parallel = tiny(), Unreadable("expert=2")
    with pytest.raises(ZeroDivisionError) as caught, parallel.distributed(model):
        parallel.lost = True
        1 / 0  # noqa: B018
    assert caught.value.__notes__ == [
        "Afterwards the model could not be gathered from its mesh: the devices are gone"
    ]
    parallel.lost = False
    with pytest.raises(OSError, match="gone"), parallel.distributed(tiny()):
        parallel.lost = True


def test_a_model_whose_worker_is_lost_is_not_gathered():
    model = tiny()
    model.build((None, 5))
    parallel = ExpertParallel("expert=2")
    with pytest.raises(WorkerLostError), parallel.distributed(model):
        raise WorkerLostError("process 1 ended")
    assert is_on_mesh(model) == ON_MESH
    parallel.gather(model)
    assert is_on_mesh(model) == OFF_MESH


@pytest.mark.slow
def test_training_resumes_after_the_block():
    """Three steps are one on a device, one on a mesh that ends in an error, and one on a device."""
    inputs, targets = tokens(3)
    expected, model = train(compiled(functional), 3), compiled(functional)

    def step(number):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        return train(model, data=lambda _: (inputs[rows], targets[rows])).item()

    losses = [step(0)]
    with pytest.raises(RuntimeError), ExpertParallel("expert=4").distributed(model):
        losses.append(step(1))
        raise RuntimeError
    losses.append(step(2))
    means = np.cumsum(losses) / [1, 2, 3]  # as `fit` shows the losses of one epoch
    np.testing.assert_allclose(means, expected, rtol=0, atol=1e-5)
    assert not hasattr(model, "expert_parallel")


# === Private names ===


def test_a_release_without_a_private_name_is_refused(monkeypatch):
    model = tiny()
    monkeypatch.setitem(PRIVATE_NAMES, "Model", {"fit": "", "_moved": "a test"})
    message = (
        rf"Received: Keras {keras.__version__} and TensorFlow {tf.__version__} without Model._moved"
        r"\. Install releases that have them: pip install 'tensorflow.*' 'keras.*'\.$"
    )
    with pytest.raises(RuntimeError, match=message):
        ExpertParallel("expert=2").distribute(model)
    assert not hasattr(model, "expert_parallel")
    check_private_names("Variable", keras.Variable(1.0))

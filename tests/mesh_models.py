"""Models that must train alike on one device and on a mesh; a new model of the zoo joins by a line.

Each entry of `MODELS` makes a built model for windows of 12 tokens out of 50, with experts that a
mesh of 2, 4 or 8 devices divides, in groups that 8 devices divide at a batch of 16.
"""

import functools

import keras
import numpy as np
from tensorflow.experimental import dtensor

from moe_zoo.distribution.optimizer import apply_dense
from moe_zoo.experts import FeedForwardExperts, GatedExperts, HeterogeneousExperts, MLPExperts
from moe_zoo.gates import DSelectKGate, NoisyTopKGate
from moe_zoo.layers import CGC, PLE, CrossStitch, MMoE, MoE, SharedBottom
from moe_zoo.models import (
    LSTMLanguageModel,
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
    mixture_block,
)
from moe_zoo.models.transformer import Attention, FeedForward, GatedFeedForward, RelativePositions
from moe_zoo.routers import GShardRouter, NoisyTopKRouter, SoftmaxRouter, SwitchRouter
from moe_zoo.training.optim.optimizers import FactoredAdam

VOCABULARY, LENGTH, BATCH, STEPS, GROUP = 50, 12, 16, 20, 24

ROUTERS = {
    "switch": lambda: SwitchRouter(capacity_factor=1.0, seed=3),
    "switch_priority": lambda: SwitchRouter(
        top_k=2, batch_priority=True, z_loss_weight=1e-3, seed=3
    ),
    "noisy_top_k": lambda: NoisyTopKRouter(top_k=2, seed=3),
    "noisy_top_k_never_drops": lambda: NoisyTopKRouter(
        top_k=2, capacity_factor=4.0, eval_capacity_factor=4.0, seed=3
    ),
    "gshard": lambda: GShardRouter(seed=3),
    "gshard_sampling": lambda: GShardRouter(second_expert_policy="sampling", seed=3),
    "gshard_threshold": lambda: GShardRouter(second_expert_policy="threshold", seed=3),
    "softmax": lambda: SoftmaxRouter(jitter=0.1, seed=3),
}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.03, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(1e-2),
    "adamw": lambda: keras.optimizers.AdamW(1e-2, global_clipnorm=1.0),
    "adafactor": lambda: keras.optimizers.Adafactor(0.1),
    "factored_adam": lambda: FactoredAdam(1e-2, clipnorm=1.0),
}


def mixture(router="switch", experts=None):
    """A mixture of 8 experts."""
    return MoE(ROUTERS[router](), experts or FeedForwardExperts(8, 32), group_size=GROUP)


def functional(router="switch"):
    """A user's own functional model."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 16)(tokens)
    x = keras.layers.Add()([x, mixture(router)(keras.layers.LayerNormalization()(x))])
    return keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))


def masked():
    """Token 0 is padding; gated experts."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 16, mask_zero=True)(tokens)
    x = keras.layers.Add()([x, mixture("gshard", GatedExperts(8, 32))(x)])
    return keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))


def attention():
    """Two pre-norm attention blocks, the second with a mixture in place of the dense layer."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 16)(tokens)
    for block in (keras.layers.Dense(16, "relu"), mixture("gshard")):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(2, 8)(y, y, use_causal_mask=True)
        x = keras.layers.Add()([x, y])
        x = keras.layers.Add()([x, block(keras.layers.LayerNormalization()(x))])
    return keras.Model(tokens, keras.layers.Dense(VOCABULARY)(x))


class Subclassed(keras.Model):
    """A user's own subclass, which makes its weights when it is first called."""

    def __init__(self):
        super().__init__()
        self.embedding = keras.layers.Embedding(VOCABULARY, 16)
        self.mixtures = [mixture("switch"), mixture("noisy_top_k")]
        self.logits = keras.layers.Dense(VOCABULARY)

    def call(self, tokens, training=None):
        x = self.embedding(tokens)
        for layer in self.mixtures:
            x += layer(x, training=training)
        return self.logits(x)


def sequential():
    """A sequential model, one group for each device."""
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 16),
            mixture("switch"),
            keras.layers.Dense(VOCABULARY),
        ]
    )


def lstm_language_model():
    """The zoo's LSTM language model, unrolled."""
    router = NoisyTopKRouter(top_k=2, seed=3)
    middle = mixture_block(num_experts=8, hidden_dim=32, top_k=2, router=router)
    middle.layers[0].group_size = GROUP
    return LSTMLanguageModel(VOCABULARY, 16, [middle], dropout=0.0, sequence_length=LENGTH)


def transformer_language_model(router="switch"):
    """The zoo's decoder-only Transformer, with grouped queries and rotary positions."""
    parts = Attention(4, num_kv_heads=2), FeedForward(32), mixture(router)
    return TransformerLanguageModel(VOCABULARY, 16, 1, *parts, moe_every=1)


MODELS = {
    "functional": functional,
    "sequential": sequential,
    "subclassed": Subclassed,
    "masked": masked,
    "attention": attention,
    "lstm_language_model": lstm_language_model,
    "transformer_language_model": transformer_language_model,
}


def transformer_classifier():
    """The zoo's Transformer classifier, with relative positions."""
    parts = Attention(2), GatedFeedForward(32), mixture("gshard")
    position = RelativePositions()
    return TransformerClassifier(VOCABULARY, VOCABULARY, 16, 2, *parts, position=position)


def transformer_seq2seq():
    """The zoo's encoder-decoder Transformer."""
    parts = Attention(2), FeedForward(32), mixture("switch")
    return TransformerSeq2Seq(VOCABULARY, 16, 1, *parts, moe_every=1)


def texts_and_classes(batches=STEPS):
    """The same texts over and over; each one's class is its second token."""
    given = np.tile(tokens(1)[0], (batches, 1))
    return given, given[:, 1]


def pairs_of_texts(batches=STEPS):
    """The same texts over and over, each to be copied token after token."""
    given = np.tile(tokens(1)[0], (batches, 1))
    begun = np.concatenate([np.zeros_like(given[:, :1]), given[:, :-1]], 1)
    return {"source": given, "target": begun}, given


TEXT_MODELS = {  # with their own inputs or outputs
    "transformer_classifier": (transformer_classifier, texts_and_classes),
    "transformer_seq2seq": (transformer_seq2seq, pairs_of_texts),
}

WIDTH, TASKS = 13, 2  # of the models for several tasks, whose inputs are rows of numbers


def task_experts(count=4):
    """Experts that a mesh of 2 or 4 devices divides."""
    return MLPExperts(count, (11,))


def task_model(mixing):
    """A layer for several tasks with an output for each."""
    rows = keras.Input((WIDTH,))
    return keras.Model(rows, keras.layers.EinsumDense("btu,tu->bt", (TASKS,))(mixing(rows)))


TASK_MODELS = {
    "mmoe": lambda: task_model(MMoE(task_experts(8), num_tasks=TASKS)),
    "ple": lambda: task_model(PLE(task_experts(), task_experts(), num_tasks=TASKS)),
    "cgc": lambda: task_model(CGC(task_experts(), task_experts(), num_tasks=TASKS)),
    "mmoe_noisy": lambda: task_model(
        MMoE(task_experts(8), NoisyTopKGate(2, dropout=0.2, seed=3), num_tasks=TASKS)
    ),
    "mmoe_dselect": lambda: task_model(MMoE(task_experts(8), DSelectKGate(2), num_tasks=TASKS)),
    "mmoe_mixed": lambda: task_model(
        MMoE(HeterogeneousExperts([task_experts(), FeedForwardExperts(4, 7, 11)]), num_tasks=TASKS)
    ),
    "cross_stitch": lambda: task_model(CrossStitch((11, 5), num_tasks=TASKS)),
    "shared_bottom": lambda: task_model(SharedBottom((11, 5), num_tasks=TASKS)),
}


def task_rows(batches=STEPS):
    """A batch of rows of numbers, over and over, with labels that can be learned from them."""
    rows = np.random.default_rng(1).normal(size=(BATCH, WIDTH)).astype("float32")
    rows = np.tile(rows, (batches, 1))
    return rows, np.tanh(rows[:, :TASKS] + rows[:, TASKS : 2 * TASKS])


def tokens(batches=STEPS):
    """Windows of tokens and the next ones; a few of the first are 0."""
    draws = np.random.default_rng(1).integers(0, VOCABULARY, (batches * BATCH, LENGTH + 1), "int32")
    draws[:, 1:] = np.where(draws[:, 1:] % 3 == 0, draws[:, :-1], draws[:, 1:])  # can be learned
    return draws[:, :-1], draws[:, 1:]


def compiled(make, optimizer="adam", precision=None, loss=None, **options):
    """A compiled model whose embeddings have whole gradients, as on a mesh."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision or "float32")
    model = make()
    if loss is None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        options = {"weighted_metrics": ["accuracy"], **options}
    model.compile(OPTIMIZERS[optimizer](), loss, **options)
    model.optimizer.apply = functools.partial(apply_dense, model.optimizer)
    return model


class Losses(keras.callbacks.Callback):
    """The loss after each step of an epoch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["loss"]))


def train(model, batches=STEPS, data=tokens, **options):
    """Losses of a `fit` of so many steps, as an array."""
    losses = Losses()
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    model.fit(*data(batches), callbacks=[losses], **options)
    return np.array(losses.values)


def mixture_of(model):
    """The first mixture of a model of layers."""
    return next(layer for layer in model.layers if isinstance(layer, MoE))


def parts_of(variable):
    """The shapes of what the devices hold."""
    return {tuple(part.shape) for part in dtensor.unpack(variable._value.read_value())}

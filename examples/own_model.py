"""A mixture of experts in your own Keras model: four regions of the plane, one rule for each."""

import keras
import numpy as np

import moe_zoo


def main(examples=4096, epochs=20):
    """Train, and print the load of each expert. Returns the test loss."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (examples, 2)).astype("float32")
    region = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
    rules = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    y = np.sum(rules[region] * x, axis=1, keepdims=True)

    inputs = keras.Input((2,))
    experts = moe_zoo.FeedForwardExperts(num_experts=8, hidden_dim=16)
    mixture = moe_zoo.MoE(moe_zoo.NoisyTopKRouter(top_k=2), experts)
    outputs = keras.layers.Dense(1)(keras.layers.add([inputs, mixture(inputs)]))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    train, test = slice(examples // 4, None), slice(examples // 4)
    model.fit(x[train], y[train], batch_size=64, epochs=epochs, verbose=2)

    for name, stats in moe_zoo.routing_stats(model).items():
        share = ", ".join(f"{part:.0%}" for part in stats.load / stats.load.sum())
        print(f"{name}: load {share}; dropped {stats.dropped_fraction:.1%}")
    return model.evaluate(x[test], y[test], verbose=0, return_dict=True)["loss"]


if __name__ == "__main__":
    print("test loss", main())

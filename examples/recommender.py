"""A multi-task recommender on a table of films: who likes what, and how much."""

import keras
import numpy as np

from moe_zoo import (
    BinaryTask,
    Category,
    ListOf,
    MLPExperts,
    MMoE,
    MultiTaskRecommender,
    Number,
    RegressionTask,
    routing_stats,
)

GENRES = np.array(["drama", "war", "comedy", "crime"])


def draw_table(rows, seed):
    """Draw people, films and ratings: the young like comedies, the old do not."""
    draw = np.random.default_rng(seed)
    age = draw.uniform(15, 80, rows).astype("float32")
    chosen = draw.integers(0, len(GENRES), (rows, 2))
    likes = np.where((chosen == 2).any(axis=1), 48 - age, age - 48)
    x = {"age": age, "country": draw.choice(["no", "it"], rows), "genres": GENRES[chosen]}
    stars = np.clip(3 + likes / 12 + draw.normal(0, 0.5, rows), 1, 5).astype("float32")
    seen = draw.random(rows) < 0.5  # only people who saw a film rate it
    return x, {
        "watch": (likes > 0).astype("float32"),
        "stars": np.where(seen, stars, np.nan).astype("float32"),
    }


def main(rows=8000, epochs=8):
    """Train, and print the mean gates. Returns the metrics on new rows."""
    keras.utils.set_random_seed(0)
    x, y = draw_table(rows, seed=0)
    model = MultiTaskRecommender(
        features={"age": Number(), "country": Category(), "genres": ListOf(Category())},
        tasks=[BinaryTask("watch"), RegressionTask("stars")],
        mixing=MMoE(MLPExperts(4, (16,))),
    )
    model.adapt(x)
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(x, y, batch_size=100, epochs=epochs, verbose=2)

    for name, stats in routing_stats(model).items():
        gates = ", ".join(f"{gate:.2f}" for gate in stats.importance / stats.tokens)
        print(f"{name}: mean gate of each expert {gates}")
    return model.evaluate(*draw_table(2000, seed=1), verbose=0, return_dict=True)


if __name__ == "__main__":
    metrics = main()
    print(f"watch AUC {metrics['watch_auc']:.3f}, stars RMSE {metrics['stars_rmse']:.3f}")

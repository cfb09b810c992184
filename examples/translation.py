"""An encoder-decoder without the command line: digits to words, by two of four experts."""

import itertools
import tempfile

import keras

from moe_zoo import FeedForwardExperts, GShardRouter, MoE, TransformerSeq2Seq, load_served
from moe_zoo.models.transformer import Attention, FeedForward
from moe_zoo.training import (
    BatchSampler,
    SmoothedCrossEntropy,
    Tokenizer,
    encode_pairs,
    train_vocabulary,
    translation_batches,
)

WORDS = "zero one two three four five six seven eight nine".split()
PAIRS = [
    (" ".join(digits), " ".join(WORDS[int(digit)] for digit in digits))
    for digits in itertools.product("0123456789", repeat=3)
]


def main(steps=300):
    """Train on numbers of three digits, and translate one from the exported model."""
    keras.utils.set_random_seed(0)
    train, test = PAIRS[:], PAIRS[::7]
    for pair in test:
        train.remove(pair)
    tokenizer = Tokenizer(train_vocabulary([" ".join(pair) for pair in train], size=290))
    pairs = encode_pairs(tokenizer, train, max_length=32)
    batches = translation_batches(pairs, BatchSampler(pairs.lengths, batch_tokens=512, seed=0))

    model = TransformerSeq2Seq(
        None,
        width=64,
        num_layers=2,
        attention=Attention(num_heads=4),
        feed_forward=FeedForward(hidden_dim=128),
        moe=MoE(GShardRouter(), FeedForwardExperts(num_experts=4, hidden_dim=64)),
        tokenizer=tokenizer,
    )
    model.compile(keras.optimizers.Adam(3e-3), SmoothedCrossEntropy(0.1), jit_compile=False)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=2)

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder)
        served = load_served(folder)
        texts = served.translate([digits for digits, _ in test], max_new_tokens=20, num_beams=4)
    right = sum(text == words for text, (_, words) in zip(texts, test, strict=True))
    print(f"{test[-1][0]!r} -> {texts[-1]!r}; {right} of {len(test)} unseen numbers are right")
    return right / len(test)


if __name__ == "__main__":
    main()

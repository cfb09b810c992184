"""Tiny made-up texts, pairs and labelled ones, and options for runs on them."""

import numpy as np

TINY_TRANSLATION = [
    *("--source", "de", "--width", "8", "--num-heads", "2", "--num-layers", "1"),
    *("--moe-every", "1"),
    *("--num-experts", "4", "--vocabulary-size", "300", "--batch-tokens", "200"),
    *("--num-buckets", "2", "--steps", "4", "--steps-per-epoch", "2", "--warmup-steps", "2"),
    *("--num-beams", "2", "--quiet"),
]
TINY_CLASSIFIER = [
    *("--width", "8", "--num-heads", "2", "--num-layers", "1", "--moe-every", "1"),
    *("--num-experts", "4", "--vocabulary-size", "300", "--batch-tokens", "256"),
    *("--num-buckets", "2", "--max-length", "8", "--steps", "24", "--steps-per-epoch", "12"),
    *("--warmup-steps", "4", "--learning-rate", "0.02", "--dropout", "0.0", "--quiet"),
]
WORDS = "null eins zwei drei vier fünf sechs sieben acht neun".split()


def number_pairs(count, seed):
    """Pairs such as `("drei null", "3 0")`."""
    draw = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        digits = draw.integers(0, 10, draw.integers(2, 8))
        pairs.append((" ".join(WORDS[d] for d in digits), " ".join(map(str, digits))))
    return pairs


def write_parallel(folder, sizes=(("train", 90), ("val", 17), ("test_2016", 11))):
    """A folder of `train.de`, `train.en` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate(sizes):
        pairs = number_pairs(count, seed)
        for side, language in enumerate(("de", "en")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder


def write_labelled(path, count=150):
    """A file of `label<TAB>text`, where the text is of words or of digits."""
    lines = []
    for number, (words, digits) in enumerate(number_pairs(count, seed=5)):
        lines.append(f"digits\t{digits}\n" if number % 2 else f"words\t{words}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path

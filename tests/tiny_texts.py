"""Tiny made-up texts: numbers in words with their digits, and sentences with labels."""

import numpy as np

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

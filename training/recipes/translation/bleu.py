"""BLEU of translations, by the package that makes the figures of papers comparable."""

from collections.abc import Sequence
from typing import NamedTuple


class Bleu(NamedTuple):
    """A score and how it was computed.

    Attributes:
        score: From 0 to 100.
        signature: sacreBLEU's, to be quoted with the score.
    """

    score: float
    signature: str


def require_sacrebleu():
    """Imports sacrebleu, or raises an `ImportError` that says how to get it."""
    try:
        import sacrebleu
    except ImportError as error:
        raise ImportError(
            f"Expected the package sacrebleu, which computes BLEU. Received: {error}. Install it: "
            "pip install 'moe-zoo[bleu]'."
        ) from error
    return sacrebleu


def corpus_bleu(translations: Sequence[str], references: Sequence[str]) -> Bleu:
    """BLEU of a whole part, with one reference for each translation.

    Case counts and the tokenization is sacreBLEU's default, `13a`, so both are plain text.

    Args:
        translations: What a model wrote.
        references: What is right, as many.

    Raises:
        ImportError: If sacrebleu is missing.
        ValueError: If there are not as many of both, or none.

    Example:

    >>> corpus_bleu(["A man rides a brown horse."], ["A man rides a brown horse."]).score
    100.0

    Reference: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine
    Translation"; Post 2018, "A Call for Clarity in Reporting BLEU Scores".
    """
    if len(translations) != len(references) or not translations:
        raise ValueError(
            "Expected as many references as translations, and at least one. Received: "
            f"{len(translations)} translations, {len(references)} references. Give both of the "
            "same part."
        )
    metric = require_sacrebleu().BLEU()
    score = metric.corpus_score(list(translations), [list(references)])
    return Bleu(round(float(score.score), 6), str(metric.get_signature()))

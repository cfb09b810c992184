"""Compute BLEU with sacreBLEU, whose scores are comparable between papers."""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple


class Bleu(NamedTuple):
    """A BLEU score and how it was computed.

    Attributes:
        score: Score from 0 to 100.
        signature: Signature of sacreBLEU, to be quoted with the score.
    """

    score: float
    signature: str


def require_sacrebleu() -> ModuleType:
    """Import sacrebleu, or raise an `ImportError` that says how to install it."""
    try:
        import sacrebleu
    except ImportError as error:
        raise ImportError(
            f"Expected the package sacrebleu, which computes BLEU. Received: {error}. Install it: "
            "pip install 'moe-zoo[bleu]'."
        ) from error
    return sacrebleu


def corpus_bleu(translations: Sequence[str], references: Sequence[str]) -> Bleu:
    """Compute the BLEU score of a corpus with one reference for each translation.

    The score is case-sensitive and uses sacreBLEU's default tokenization, `13a`, on plain text.

    Args:
        translations: Translations by a model.
        references: Correct translations, in the same order.

    Raises:
        ImportError: If sacrebleu is not installed.
        ValueError: If the numbers of translations and references differ, or are 0.

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

"""Read the docstrings of Python's standard library, labelled with their modules."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from moe_zoo.training.text.corpus import Document, read_corpus
from moe_zoo.training.text.part_files import split_off
from moe_zoo.training.text.text_lines import share_of
from moe_zoo.validation import check_int

from .labelled_text import TEST_SHARE, VALIDATION_SHARE, Example, LabelledText, text_of

SHORTEST = 40  # characters
MOST_PER_LABEL = 300
WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def read_docstrings(num_labels: int = 16) -> LabelledText:
    """Read the docstrings of the modules and packages with the most docstrings, labelled by name.

    The source is parsed, never imported. Docstrings that occur in several modules are skipped. At
    most 300 docstrings of a module are used, so that no label dominates. A hash of the docstring
    decides its part, so a Python version always gives the same split.

    Args:
        num_labels: Number of modules.

    Raises:
        FileNotFoundError: If this Python has no source files.
        ValueError: If fewer modules have docstrings.

    Example:

    >>> "email" in read_docstrings(num_labels=8).labels
    True
    """
    check_int("num_labels", num_labels, 2)
    corpus = read_corpus()
    modules: defaultdict[str, set[str]] = defaultdict(set)
    for document in (*corpus.train, *corpus.validation, *corpus.test):
        module = document.name.split("/")[0].removesuffix(".py")
        for docstring in docstrings_of(document):
            modules[docstring].add(module)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for docstring, names_of_it in modules.items():
        if len(names_of_it) == 1:
            texts[min(names_of_it)].append(docstring)
    if len(texts) < num_labels:
        raise ValueError(
            f"Expected at most {len(texts)} labels, the modules with docstrings. Received: "
            f"num_labels={num_labels}. Take fewer."
        )
    names = sorted(texts, key=lambda name: (-len(texts[name]), name))[:num_labels]
    examples = [
        Example(name, text)
        for name in sorted(names)
        for text in sorted(texts[name], key=share_of)[:MOST_PER_LABEL]
    ]
    kept, test = split_off(examples, TEST_SHARE, "test", text_of)
    train, validation = split_off(kept, VALIDATION_SHARE, "validation", text_of)
    return LabelledText(train, validation, test)


def docstrings_of(document: Document) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and functions that are not too short."""
    try:
        tree = ast.parse(document.text)
    except SyntaxError:  # a template, or source for another Python version
        return
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING):
            docstring = ast.get_docstring(node) or ""
            if len(docstring) >= SHORTEST:
                yield docstring

"""Reads our docstrings as the site needs them: a Griffe extension, named in mkdocs.yml.

Griffe takes every `Word: text` line for the title of a box. Here "Reference" and "Differs from the
paper in" stay text, the fields of a NamedTuple are its attributes, call arguments are a list, and
examples are code.
"""

import re

import griffe

TEXT = re.compile(r"^(Reference|References|Differs from [^:\n]*): ", re.MULTILINE)
FIELDS = re.compile(r"^Fields:$", re.MULTILINE)
CALL_ARGUMENTS = re.compile(r"^Call arguments:\n(?:    .*\n|\n)*", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.MULTILINE)
ENTRY = re.compile(r"^    ([*\w]+): ", re.MULTILINE)


def for_griffe(text):
    """Return a docstring with its sections in the form that Griffe knows."""
    text = FIELDS.sub("Attributes:", TEXT.sub(r"**\1**: ", text))
    text = EXAMPLE.sub(lambda part: f"```pycon\n{part[0].rstrip()}\n```\n", text)
    return CALL_ARGUMENTS.sub(lambda part: ENTRY.sub(r"    - `\1`: ", part[0]), text)


class Docstrings(griffe.Extension):
    """Applies `for_griffe` to every docstring, before it is parsed."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = for_griffe(obj.docstring.value)

"""Random configurations of layers, options and files: each is right, or refused in plain words.

`make fuzz` runs it for an hour, `python -m fuzz --help` (in `tests/`) tells of shorter runs.
"""

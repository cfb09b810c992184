"""Runs the scripts of `benchmarks/`."""

import subprocess
import sys

from conftest import ROOT


def run(script, *options):
    """What a script has printed, and how it ended."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)

"""Serve a SavedModel in a fresh process without moe_zoo."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moe_zoo.export.saved_model import check_saved_model
from moe_zoo.models.checks import check_options
from moe_zoo.terminal import signal_name
from moe_zoo.validation import shown

from .finished_run import SAVED_MODEL

ENDS = {
    "SIGKILL": "The system does so when memory runs out: free some, or serve a smaller model.",
    "SIGINT": "Run the command again.",
    "SIGTERM": "Run the command again.",
}
CRASH = "TensorFlow crashed in it: check that the export is whole, and export it again."


def generate_in_fresh_process(
    saved_model: str | os.PathLike,
    prompts: Iterable[str],
    max_new_tokens: int = 60,
    temperature: float = 0.7,
    top_k: int = 20,
    top_p: float = 1.0,
    seed: int = 0,
    num_beams: int = 1,
    length_penalty: float = 0.6,
) -> list[str]:
    """Generate text from a SavedModel, in a process with only TensorFlow and TensorFlow Text.

    Args:
        saved_model: Folder of the SavedModel, with a `generate` endpoint, or of a finished run.
        prompts: Texts to continue.
        max_new_tokens: Number of tokens to add to each.
        temperature: Temperature of sampling; 0 is greedy.
        top_k: Number of most probable tokens to sample from; 0 for all.
        top_p: Total probability of the most probable tokens to sample from; 1 for all.
        seed: Seed of sampling.
        num_beams: Number of beams; with 2 or more nothing is sampled.
        length_penalty: Length penalty of beam search; 0 for none.

    Returns:
        The prompts and their continuations.

    Raises:
        ValueError: If an option is out of its range.
        FileNotFoundError: If there is no SavedModel.
        RuntimeError: If the process failed, as in `serve_in_fresh_process`.
    """
    options = check_options(
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        num_beams=num_beams,
        length_penalty=length_penalty,
    )
    return serve_in_fresh_process(saved_model, "generate", prompts, options.values())


def serve_in_fresh_process(
    saved_model: str | os.PathLike,
    endpoint: str,
    texts: Iterable[str],
    options: Iterable[float] = (),
) -> Any:
    """Call an endpoint of a SavedModel, in a process with only TensorFlow and TensorFlow Text.

    Args:
        saved_model: Folder of the SavedModel, or of a finished run.
        endpoint: Name of the endpoint, whose first argument is `<string>[B]`.
        texts: That argument.
        options: The other arguments.

    Returns:
        A list of texts or numbers, or a `dict` of lists, as the endpoint returns them.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If one of its files was changed since it was written.
        RuntimeError: If the process failed; the message has its error, or the signal that ended it.
    """
    folder = Path(saved_model)
    if (folder / SAVED_MODEL).exists():
        folder = folder / SAVED_MODEL
    check_saved_model(folder)
    request = {
        "saved_model": str(folder.resolve()),
        "endpoint": endpoint,
        "texts": list(texts),
        "options": list(options),
    }
    script = Path(__file__).with_name("serve_script.py")
    result = subprocess.run(
        [sys.executable, "-P", str(script)],  # -P: the modules next to the script stay out of sight
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    reply = _reply(result)
    if "error" in reply:
        raise RuntimeError(
            f"The SavedModel {shown(str(folder))} could not be served: {reply['error']}"
        )
    return reply["given"]


def _reply(result: subprocess.CompletedProcess) -> dict[str, Any]:
    """Read the last line of the process's output, or describe how it ended without one."""
    if result.returncode < 0:
        name = signal_name(-result.returncode)
        return {"error": f"its process was ended by {name}. {ENDS.get(name, CRASH)}"}
    try:
        return json.loads(result.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": f"its process ended with code {result.returncode} and no answer. {CRASH}"}

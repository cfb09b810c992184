"""The server of the "MoE Routing" tab in TensorBoard."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug.wrappers import Request, Response

from moe_zoo.validation import shown

from .names import PLUGIN_NAME
from .routing_series import KINDS, RoutingSeries, Tag, latest

STATIC = Path(__file__).with_name("static")
TYPES = {".js": "text/javascript", ".css": "text/css"}
Application = Callable[..., Iterable[bytes]]  # a WSGI application


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        status: `int`, HTTP status.
        message: `str`, what was expected, what was received and what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def answers(respond: Callable[[Any, Request], Response]) -> Application:
    """Make a WSGI application of a method that answers a GET request; its errors become JSON.

    Args:
        respond: method of a plugin that takes the request and returns the response.

    Returns:
        The application, as a method of the plugin.
    """

    @functools.wraps(respond)
    def application(
        self: Any, environ: dict[str, Any], start_response: Callable
    ) -> Iterable[bytes]:
        request = Request(environ)
        try:
            if request.method != "GET":
                raise RequestError(
                    405,
                    f"Expected a GET request. Received: {request.method}. This plugin only reads.",
                )
            response = respond(self, request)
        except RequestError as error:
            allow = [("Allow", "GET")] if error.status == 405 else None
            response = _json(request, {"error": str(error)}, code=error.status, headers=allow)
        return response(environ, start_response)

    return application


class RoutingPlugin(base_plugin.TBPlugin):
    """Serves the page, the list of layers and their series.

    `/static/*` is the page, `/layers` the layers of each run. `/series?run=&kind=[&layer=][&at=]`
    returns steps and values by layer; with `at`, only the last value at or before that step, and
    `until`, the step of the next value.

    Args:
        context: `tensorboard.plugins.base_plugin.TBContext`.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext):
        self._provider = context.data_provider
        self._files = {
            path.name: path for path in STATIC.iterdir() if path.is_file() and path.suffix in TYPES
        }

    def get_plugin_apps(self) -> dict[str, Application]:
        """Return the application of each route."""
        return {
            "/static/*": self._serve_file,
            "/layers": self._serve_layers,
            "/series": self._serve_series,
        }

    def is_active(self) -> bool:
        """Return `False`: TensorBoard itself offers the tab once a run has data for it."""
        return False

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Return the name of the tab and the module of its page."""
        return base_plugin.FrontendMetadata(
            es_module_path="/static/index.js", tab_name="MoE Routing"
        )

    @answers
    def _serve_file(self, request: Request) -> Response:
        """Serve a file of the page; the browser keeps it, and asks whether it has changed."""
        name = request.path.partition(f"/{PLUGIN_NAME}/static/")[2]
        if name not in self._files:  # the list is the guard: no name leads out of the folder
            raise RequestError(
                404, f"Expected a file of the page. Received: {shown(name)}. Reload the page."
            )
        path = self._files[name]
        response = http_util.Respond(request, path.read_bytes(), TYPES[path.suffix])
        response.add_etag()
        return response.make_conditional(request)

    @answers
    def _serve_layers(self, request: Request) -> Response:
        return _json(request, {"runs": self._series(request).layers()})

    @answers
    def _serve_series(self, request: Request) -> Response:
        series = self._series(request)
        run, tags = _choose(series.tags(), request.args)
        at = _step(request.args)
        by_layer = series.read(run, tags)
        if at is not None:
            by_layer = {layer: latest(values, at) for layer, values in by_layer.items()}
        return _json(request, by_layer)

    def _series(self, request: Request) -> RoutingSeries:
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        return RoutingSeries(self._provider, context, experiment)


def _choose(runs: Mapping[str, list[Tag]], arguments: Mapping[str, str]) -> tuple[str, list[Tag]]:
    """Return the run and the tags that a request names."""
    run = _one_of(arguments, "run", runs)
    kind = _one_of(arguments, "kind", KINDS)
    tags = [tag for tag in runs[run] if tag.kind == kind]
    if not tags:
        raise RequestError(
            404,
            f"Expected a kind that the run has. Received: kind={shown(kind)}, run={shown(run)}. "
            "/layers lists its kinds.",
        )
    if "layer" not in arguments:
        return run, tags
    layer = _one_of(arguments, "layer", [tag.layer for tag in tags])
    return run, [tag for tag in tags if tag.layer == layer]


def _one_of(arguments: Mapping[str, str], name: str, known: Collection[str]) -> str:
    value = arguments.get(name)
    if value is None:
        raise RequestError(
            400, f"Expected the argument {shown(name)}. Received: none. /layers lists the values."
        )
    if value not in known:
        raise RequestError(
            404,
            f"Expected {name} as one of {list(known)}. Received: {name}={shown(value)}. "
            "Click Reload if it is new.",
        )
    return value


def _step(arguments: Mapping[str, str]) -> int | None:
    value = arguments.get("at")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise RequestError(
            400,
            f"Expected `at` to be a whole number. Received: at={shown(value)}. Omit it for all "
            "steps.",
        ) from None


def _json(request: Request, content: Any, **options: Any) -> Response:
    """Respond with JSON, dumped here: `Respond` would first walk through every number in Python."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return http_util.Respond(request, text, "application/json", **options)

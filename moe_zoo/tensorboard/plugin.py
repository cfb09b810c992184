"""The server of the "MoE Routing" tab in TensorBoard."""

import functools
import json
from pathlib import Path

from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug.wrappers import Request

from moe_zoo.validation import shown

from .names import PLUGIN_NAME
from .routing_series import KINDS, RoutingSeries, latest

STATIC = Path(__file__).with_name("static")
TYPES = {".js": "text/javascript", ".css": "text/css"}


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        message: what was expected, what was received and what to do.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def answers(respond):
    """A method that answers a GET request, as a WSGI application; its errors become JSON."""

    @functools.wraps(respond)
    def application(self, environ, start_response):
        request = Request(environ)
        try:
            if request.method != "GET":
                raise RequestError(
                    405, f"Expected a GET request. Received: {request.method}. Only read here."
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
    holds steps and values, by layer; with `at`, only the last value at or before that step, and
    `until`, the step from which another one holds.

    Args:
        context: `tensorboard.plugins.base_plugin.TBContext`.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context):
        self._provider = context.data_provider
        self._files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}

    def get_plugin_apps(self):
        """Returns the application of each route."""
        return {
            "/static/*": self._serve_file,
            "/layers": self._serve_layers,
            "/series": self._serve_series,
        }

    def is_active(self):
        """Returns `False`: TensorBoard itself offers the tab once a run holds data for it."""
        return False

    def frontend_metadata(self):
        """Returns what the tab is called and where its page is."""
        return base_plugin.FrontendMetadata(
            es_module_path="/static/index.js", tab_name="MoE Routing"
        )

    @answers
    def _serve_file(self, request):
        name = request.path.rpartition("/static/")[2]
        if name not in self._files:  # the list is the guard: no name leads out of the folder
            raise RequestError(
                404,
                f"Expected one of {sorted(self._files)}. Received: {shown(name)}. Reload the page.",
            )
        path = self._files[name]
        return http_util.Respond(request, path.read_bytes(), TYPES[path.suffix])

    @answers
    def _serve_layers(self, request):
        return _json(request, {"runs": self._series(request).layers()})

    @answers
    def _serve_series(self, request):
        series = self._series(request)
        run, tags = _choose(series.tags(), request.args)
        at = _step(request.args)
        found = series.read(run, tags)
        if at is not None:
            found = {layer: latest(values, at) for layer, values in found.items()}
        return _json(request, found)

    def _series(self, request):
        context = plugin_util.context(request.environ)
        experiment = plugin_util.experiment_id(request.environ)
        return RoutingSeries(self._provider, context, experiment)


def _choose(runs, arguments):
    """The run and the tags that a request asks for."""
    run = _one_of(arguments, "run", runs)
    kind = _one_of(arguments, "kind", KINDS)
    tags = [tag for tag in runs[run] if tag.kind == kind]
    if not tags:
        raise RequestError(
            404,
            f"Expected a kind that the run has. Received: kind={shown(kind)}, run={shown(run)}. "
            "Ask /layers for its kinds.",
        )
    if "layer" not in arguments:
        return run, tags
    layer = _one_of(arguments, "layer", [tag.layer for tag in tags])
    return run, [tag for tag in tags if tag.layer == layer]


def _one_of(arguments, name, known):
    value = arguments.get(name)
    if value is None:
        raise RequestError(
            400, f"Expected the argument {shown(name)}. Received: none. Ask /layers what there is."
        )
    if value not in known:
        raise RequestError(
            404,
            f"Expected {name} as one of {list(known)}. Received: {name}={shown(value)}. "
            "Press Reload if it is new.",
        )
    return value


def _step(arguments):
    value = arguments.get("at")
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise RequestError(
            400,
            f"Expected a step as a whole number. Received: at={shown(value)}. Leave it out for "
            "all.",
        ) from None


def _json(request, content, **options):
    """Dumped here, since `Respond` would first walk through every number in Python."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return http_util.Respond(request, text, "application/json", **options)

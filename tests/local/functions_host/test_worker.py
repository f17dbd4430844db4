"""Compares the host with the official worker, which is a library from Python 3.13 on."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.functions_host import trigger_data
from local.functions_host.app import create_app
from local.functions_host.indexing import IndexingError
from local.functions_host.queue_storage import Message
from tests.local.functions_host.hosting import ServeApp, WriteApp

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="the official worker is a library only for Python 3.13 and later"
)

APP = """
import json

@app.route(route="echo/{id}", methods=["GET", "POST"])
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = [req.method, dict(req.params), dict(req.route_params), req.get_body().decode(), context.function_name]
    return func.HttpResponse(
        json.dumps(seen), status_code=202, mimetype="application/json", headers={"Location": "/x"}
    )

@app.route()
async def plain(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("plain")
    response.headers.add("Set-Cookie", "a=1; Path=/x; HttpOnly")
    response.headers.add("Set-Cookie", "b=2")
    return response

@app.route()
def text(req: func.HttpRequest) -> str: return "text"

@app.route()
def none(req: func.HttpRequest): return None

@app.route()
def mapping(req: func.HttpRequest): return {"a": 1}

@app.route()
def raises(req: func.HttpRequest): raise ValueError("the reason")

@app.route(auth_level=func.AuthLevel.FUNCTION)
@app.queue_output(arg_name="out", queue_name="q", connection="AzureWebJobsStorage")
def put(req: func.HttpRequest, out: func.Out[str]) -> str: return "put"

@app.queue_trigger(arg_name="msg", queue_name="q", connection="AzureWebJobsStorage")
def queued(msg: func.QueueMessage) -> None:
    times = [msg.insertion_time, msg.expiration_time, msg.time_next_visible]
    print("seen", repr([msg.id, msg.get_body(), msg.dequeue_count, msg.pop_receipt, *times]))

@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def timed(timer: func.TimerRequest) -> None:
    print("seen", timer.past_due, type(timer).__module__)
"""


class _Message(SimpleNamespace):
    """Stands in for a protobuf message: keyword arguments become attributes."""

    def WhichOneof(self, group: str) -> str:
        return next(iter(vars(self)))


class _Protos:
    BindingInfo: Any
    StatusResult: Any

    def __init__(self) -> None:
        # The numbers are those of the worker's protocol; azure-functions uses the same ones.
        kinds = {"Direction": ("in", "out", "inout"), "DataType": ("undefined", "string", "binary", "stream")}
        names = {name: index for group in kinds.values() for index, name in enumerate(group)}
        self.BindingInfo = type("BindingInfo", (_Message,), names)
        self.StatusResult = type("StatusResult", (_Message,), {"Failure": 0, "Success": 1})
        same_site = SimpleNamespace(**{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})
        self.RpcHttpCookie = type("RpcHttpCookie", (_Message,), {"SameSite": same_site})

    def __getattr__(self, name: str) -> Callable[..., _Message]:
        return _Message


@dataclass(frozen=True)
class _Worker:
    """The official worker, driven as the host drives it."""

    protos: _Protos
    init: Any

    @classmethod
    def start(cls, app_dir: Path) -> _Worker:
        from azure_functions_runtime import handle_event

        sys.modules.pop("function_app", None)
        handle_event._functions = handle_event.Registry()
        protos = _Protos()
        asked = SimpleNamespace(capabilities={}, function_app_directory=str(app_dir))
        init = SimpleNamespace(worker_init_request=asked)
        request = SimpleNamespace(request=init, properties={"host": "127.0.0.1", "protos": protos})
        return cls(protos, asyncio.run(handle_event.worker_init_request(request)))

    def functions(self) -> list[Any]:
        from azure_functions_runtime import functions_metadata_request

        request = SimpleNamespace(request=None)
        return list(asyncio.run(functions_metadata_request(request)).function_metadata_results)

    def invoke(self, name: str, http: _Message) -> Any:
        return self.invoke_with(name, "req", _Message(http=http))

    def invoke_with(self, name: str, parameter: str, data: _Message, metadata: Any = None) -> Any:
        from azure_functions_runtime import invocation_request

        found = next(function for function in self.functions() if function.name == name)
        binding = _Message(data=data, name=parameter)
        invocation = SimpleNamespace(
            invocation_id="1",
            function_id=found.function_id,
            input_data=[binding],
            trigger_metadata=metadata,
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        request = SimpleNamespace(request=SimpleNamespace(invocation_request=invocation))
        return asyncio.run(invocation_request(request))


def http(method: str, *, query: dict[str, str], params: dict[str, str], body: bytes) -> _Message:
    return _Message(
        method=method, url="http://localhost/", headers={}, query=query, params=params, body=_Message(bytes=body)
    )


def test_same_functions_are_indexed(serve_app: ServeApp, tmp_path: Path) -> None:
    ours = serve_app(APP).app.state.hosted.functions
    theirs = _Worker.start(tmp_path).functions()
    assert [function.name for function in ours] == [function.name for function in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert list(our.bindings) == [json.loads(raw) for raw in their.raw_bindings]


@pytest.mark.parametrize(
    "source",
    [
        "alias = app",
        "import no_such_module",
        "@app.route()\ndef a(req: func.HttpRequest, other: int): ...",
        "@app.route()\ndef a(request: func.HttpRequest): ...",
        "@app.route()\ndef a(): ...",
        "@app.route()\ndef a(req: int): ...",
        "@app.route()\ndef a(req: 5): ...",
        "@app.route()\ndef a(req: func.Out[str]): ...",
        "@app.route()\ndef a(req: func.HttpRequest, context: int): ...",
        "@app.route()\ndef a(req: func.HttpRequest) -> dict: ...",
        "@app.route()\ndef a(req: func.HttpRequest) -> func.HttpResponse | str: ...",
        '@app.route()\n@app.queue_output(arg_name="q", queue_name="q", connection="c")\n'
        "def a(req: func.HttpRequest, q: str): ...",
    ],
)
def test_same_apps_are_refused_for_the_same_reason(write_app: WriteApp, source: str) -> None:
    folder = write_app(source)
    with pytest.raises(IndexingError) as caught:
        create_app(folder)
    result = _Worker.start(folder).init.result
    reason = result.exception.message.split(" Current sys.path")[0]
    assert result.status == 0
    assert f"Exception: {reason}\n" in str(caught.value)


def test_same_answers(serve_app: ServeApp, tmp_path: Path) -> None:
    client = serve_app(APP)
    worker = _Worker.start(tmp_path)
    request = http("POST", query={"x": "1,2"}, params={"id": "7"}, body=b"body")
    theirs = worker.invoke("echo", request).return_value.http
    ours = client.post("/api/echo/7?x=1&x=2&y=", content=b"body")
    assert (ours.status_code, ours.content) == (int(theirs.status_code), theirs.body.bytes)
    assert ours.headers["location"] == theirs.headers["Location"]
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_same_cookies(serve_app: ServeApp, tmp_path: Path) -> None:
    client = serve_app(APP)
    theirs = _Worker.start(tmp_path).invoke("plain", http("GET", query={}, params={}, body=b"")).return_value.http
    ours = client.get("/api/plain").headers.get_list("set-cookie")
    assert [(cookie.name, cookie.value) for cookie in theirs.cookies] == [("a", "1"), ("b", "2")]
    assert ours == ["a=1; HttpOnly; Path=/x", "b=2"]


@pytest.mark.parametrize("name", ["none", "mapping", "raises"])
def test_same_failures(serve_app: ServeApp, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    client = serve_app(APP)
    result = _Worker.start(tmp_path).invoke(name, http("GET", query={}, params={}, body=b"")).result
    caplog.clear()
    assert client.get(f"/api/{name}").status_code == 500
    reason = result.exception.message.partition(": ")[2]
    assert result.status == 0
    assert reason in caplog.text


MESSAGE = Message(
    id="5527200d-51f0-478c-bc81-e46ede0badce",
    receipt="MjROb3Y=",
    raw="",
    dequeue_count=2,
    inserted=datetime(2026, 11, 24, 9, 36, 53, tzinfo=timezone.utc),
    expires=datetime(2026, 12, 1, 9, 36, 53, tzinfo=timezone.utc),
    visible_again=datetime(2026, 11, 24, 9, 46, 53, tzinfo=timezone.utc),
)


def test_same_queue_message(serve_app: ServeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosted = serve_app(APP).app.state.hosted
    function = next(function for function in hosted.functions if function.name == "queued")
    function.entry(trigger_data.queue_message("the text", MESSAGE))
    ours = capsys.readouterr().out
    metadata = {
        "Id": _Message(string=MESSAGE.id),
        "PopReceipt": _Message(string=MESSAGE.receipt),
        "DequeueCount": _Message(json="2"),
        "InsertionTime": _Message(json=json.dumps(MESSAGE.inserted.isoformat())),
        "ExpirationTime": _Message(json=json.dumps(MESSAGE.expires.isoformat())),
        "NextVisibleTime": _Message(json=json.dumps(MESSAGE.visible_again.isoformat())),
    }
    done = _Worker.start(tmp_path).invoke_with("queued", "msg", _Message(string="the text"), metadata)
    assert done.result.status == 1
    theirs = capsys.readouterr().out
    assert "b'the text', 2" in ours
    assert [line for line in theirs.splitlines() if line.startswith("seen")] == ours.splitlines()


def test_same_timer_request(serve_app: ServeApp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosted = serve_app(APP).app.state.hosted
    function = next(function for function in hosted.functions if function.name == "timed")
    function.entry(trigger_data.timer_request())
    ours = capsys.readouterr().out
    content = json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False})
    done = _Worker.start(tmp_path).invoke_with("timed", "timer", _Message(json=content))
    assert done.result.status == 1
    assert ours == "seen False azure.functions.timer\n"
    assert ours in capsys.readouterr().out


def test_the_application_itself_is_accepted_by_both() -> None:
    root = Path(__file__).parents[3]
    app = create_app(root)
    app.state.hosted.invoker.close()
    worker = _Worker.start(root)
    assert worker.init.result.status == 1
    assert {function.name for function in worker.functions()} == {
        function.name for function in app.state.hosted.functions
    }

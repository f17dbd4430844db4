from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from local.functions_host.app import BODY_LIMIT_BYTES, create_app
from local.functions_host.indexing import IndexingError
from local.functions_host.settings import SettingsError
from tests.local.functions_host.hosting import ORIGIN, ServeApp, WriteApp

ECHO = """
import json

@app.route(route="echo/{id?}", methods=["GET", "POST"])
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    try:
        content = req.get_json()
    except ValueError:
        content = "no JSON"
    seen = {
        "method": req.method, "url": req.url, "params": dict(req.params), "route": dict(req.route_params),
        "headers": dict(req.headers), "body": req.get_body().decode(), "json": content,
        "context": [context.function_name, context.function_directory, context.invocation_id],
        "trace": [context.trace_context.trace_parent, context.trace_context.trace_state],
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")
"""
RESULTS = """
import sys

@app.route()
def none(req: func.HttpRequest): return None

@app.route()
def mapping(req: func.HttpRequest): return {"a": 1}

@app.route()
def raises(req: func.HttpRequest): raise ValueError("the reason")

@app.route()
def leaves(req: func.HttpRequest): sys.exit(3)

@app.route()
def stops(req: func.HttpRequest): raise StopIteration

@app.route()
async def async_raises(req: func.HttpRequest): raise StopAsyncIteration("the reason")
"""


def test_request_as_the_function_sees_it(serve_app: ServeApp) -> None:
    client = serve_app(ECHO)
    seen = client.post(
        "/api/echo/a%20b?x=1&x=2&empty=&code=key",
        content=b'{"a": 1}',
        headers=[("X-Two", "1"), ("x-two", "2"), ("x-functions-key", "k"), ("traceparent", "00-a-b-01")],
    ).json()
    assert seen["method"] == "POST"
    assert seen["url"] == "http://localhost:7071/api/echo/a%20b?x=1&x=2&empty=&code=key"
    assert seen["params"] == {"x": "1,2", "code": "key"}
    assert seen["route"] == {"id": "a b"}
    assert seen["headers"]["x-two"] == "1,2"
    assert seen["headers"]["x-functions-key"] == "k"
    assert (seen["body"], seen["json"]) == ('{"a": 1}', {"a": 1})
    assert seen["context"][0] == "echo"
    assert len(seen["context"][2]) == 36
    assert seen["trace"] == ["00-a-b-01", ""]


def test_optional_parameter_is_absent_and_empty_body_is_no_json(serve_app: ServeApp) -> None:
    seen = serve_app(ECHO).get("/api/ECHO").json()
    assert (seen["route"], seen["body"], seen["json"]) == ({}, "", "no JSON")
    assert seen["trace"][0].startswith("00-")


def test_chunked_body_does_not_arrive(serve_app: ServeApp) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"

    assert serve_app(ECHO).post("/api/echo", content=chunks()).json()["body"] == ""


def test_body_over_the_limit(serve_app: ServeApp) -> None:
    headers = {"content-length": str(BODY_LIMIT_BYTES + 1)}
    response = serve_app(ECHO).post("/api/echo", content=b"", headers=headers)
    assert (response.status_code, response.content) == (413, b"")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/echo"), ("GET", "/api/nothing"), ("GET", "/echo"), ("POST", "/")]
)
def test_unknown_route_or_method(serve_app: ServeApp, method: str, path: str) -> None:
    response = serve_app(ECHO).request(method, path)
    assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize("name", ["none", "mapping", "raises", "leaves", "stops", "async_raises"])
def test_failure_shows_nothing(serve_app: ServeApp, name: str, caplog: pytest.LogCaptureFixture) -> None:
    response = serve_app(RESULTS).get(f"/api/{name}?code=secret-key")
    assert (response.status_code, response.content) == (500, b"")
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"'Functions.{name}' (Failed" in failed[0].getMessage()
    assert failed[0].exc_info is not None
    assert "secret-key" not in caplog.text


def test_text_and_cookies_and_status(serve_app: ServeApp) -> None:
    client = serve_app(
        """
        @app.route()
        async def text(req: func.HttpRequest) -> str:
            return '{"body": "made", "status": 201}'

        @app.route()
        def cookies(req: func.HttpRequest) -> func.HttpResponse:
            response = func.HttpResponse(status_code=202, headers={"Location": "/api/x"})
            response.headers.add("Set-Cookie", "a=1")
            response.headers.add("Set-Cookie", "b=2")
            return response
        """
    )
    made = client.get("/api/text")
    assert (made.status_code, made.text, made.headers["content-type"]) == (201, "made", "text/plain; charset=utf-8")
    accepted = client.get("/api/cookies")
    assert (accepted.status_code, accepted.headers["location"]) == (202, "/api/x")
    assert accepted.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_form(serve_app: ServeApp) -> None:
    client = serve_app(
        """
        @app.route()
        def form(req: func.HttpRequest) -> str:
            file = req.files["f"]
            try:
                return req.form["a"] + file.filename + file.read().decode()
            finally:
                file.close()
        """
    )
    assert client.post("/api/form", data={"a": "1"}, files={"f": ("x.txt", b"content")}).text == "1x.txtcontent"


def test_route_prefix_and_preference(serve_app: ServeApp) -> None:
    client = serve_app(
        """
        @app.route(route="{*rest}")
        def rest(req: func.HttpRequest) -> str: return "rest " + req.route_params.get("rest", "")

        @app.route(route="a/b")
        def exact(req: func.HttpRequest) -> str: return "exact"

        @app.route(route="")
        def named(req: func.HttpRequest) -> str: return "named"
        """,
        files={"host.json": '{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}'},
    )
    assert client.get("/a/b").text == "exact"
    assert client.get("/a/c").text == "rest a/c"
    assert client.get("/named").text == "named"
    assert client.get("/").text == "rest "


@pytest.mark.parametrize(
    ("route", "prefix", "problem"),
    [
        ("x/{id:uuid}", "api", "uuid"),
        ("/x", "api", "empty segment"),
        ("admin/x", "", "conflicts with one or more built in routes"),
    ],
)
def test_bad_route_is_an_error_at_start(write_app: WriteApp, route: str, prefix: str, problem: str) -> None:
    source = f"@app.route(route={route!r})\ndef a(req: func.HttpRequest) -> str: ..."
    host = json.dumps({"version": "2.0", "extensions": {"http": {"routePrefix": prefix}}})
    with pytest.raises(IndexingError, match=problem):
        create_app(write_app(source, files={"host.json": host}))


def test_function_timeout(serve_app: ServeApp, caplog: pytest.LogCaptureFixture) -> None:
    client = serve_app(
        """
        import asyncio, threading
        release = threading.Event()

        @app.route()
        async def slow(req: func.HttpRequest) -> str:
            await asyncio.sleep(60)

        @app.route()
        def slow_thread(req: func.HttpRequest) -> str:
            release.wait(60)

        @app.route()
        def let_go(req: func.HttpRequest) -> str:
            release.set()
            return "let go"
        """,
        files={"host.json": '{"version": "2.0", "functionTimeout": "00:00:01"}'},
    )
    assert client.get("/api/slow").status_code == 500
    assert client.get("/api/slow_thread").status_code == 500
    assert client.get("/api/let_go").text == "let go"
    assert caplog.text.count("Timeout value of 1 s exceeded") == 2


def test_invocation_that_ran_out_of_time_in_the_queue_never_runs(
    serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_THREADPOOL_THREAD_COUNT", "1")
    client = serve_app(
        """
        import threading
        release = threading.Event()
        CALLS = []

        @app.route()
        def slow(req: func.HttpRequest) -> str:
            release.wait(60)

        @app.route()
        def note(req: func.HttpRequest) -> str:
            CALLS.append(req.params["name"])
            return " ".join(CALLS)
        """,
        files={"host.json": '{"version": "2.0", "functionTimeout": "00:00:01"}'},
    )
    assert client.get("/api/slow").status_code == 500
    assert client.get("/api/note?name=queued").status_code == 500
    __import__("function_app").release.set()
    assert client.get("/api/note?name=later").text == "later"


def test_too_many_requests(serve_app: ServeApp) -> None:
    client = serve_app(
        """
        import threading
        release = threading.Event()

        @app.route()
        def slow(req: func.HttpRequest) -> str:
            release.wait(60)
        """,
        files={
            "host.json": '{"version": "2.0", "functionTimeout": "00:00:01",'
            ' "extensions": {"http": {"maxOutstandingRequests": 1}}}'
        },
    )
    assert client.get("/api/slow").status_code == 500
    assert client.get("/api/slow").status_code == 429
    __import__("function_app").release.set()


BY_HAND = """
import asyncio
began, ended = asyncio.Event(), asyncio.Event()

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
async def endless(timer: func.TimerRequest) -> None:
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()
"""


def test_calls_by_hand_have_a_bound_and_end_with_the_host(serve_app: ServeApp) -> None:
    files = {"host.json": '{"version": "2.0", "extensions": {"http": {"maxOutstandingRequests": 1}}}'}
    app = serve_app(BY_HAND, files=files).app
    function_app = __import__("function_app")

    async def scenario() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            first = await client.post("/admin/functions/endless", json={})
            await function_app.began.wait()
            second = await client.post("/admin/functions/endless", json={})
        await function_app.ended.wait()
        return [first.status_code, second.status_code]

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == [202, 429]


def test_call_by_hand_with_a_body_over_the_limit(serve_app: ServeApp) -> None:
    headers = {"content-length": str(BODY_LIMIT_BYTES + 1)}
    response = serve_app(BY_HAND).post("/admin/functions/endless", content=b"", headers=headers)
    assert (response.status_code, response.content) == (413, b"")


def test_sync_functions_run_side_by_side(serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_THREADPOOL_THREAD_COUNT", "3")
    client = serve_app(
        """
        import threading
        together = threading.Barrier(3, timeout=20)

        @app.route()
        def meet(req: func.HttpRequest) -> str:
            together.wait()
            return threading.current_thread().name
        """
    )
    responses = client.get_together("/api/meet", 3)
    assert [response.status_code for response in responses] == [200] * 3
    assert len({response.text for response in responses}) == 3


def test_keys_are_not_checked_without_the_flag(serve_app: ServeApp) -> None:
    client = serve_app('@app.route(auth_level="ADMIN")\ndef a(req: func.HttpRequest) -> str: return "in"')
    assert client.get("/api/a").text == "in"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/open", {}, 200),
        ("/api/closed", {}, 401),
        ("/api/closed?code=right", {}, 200),
        ("/api/closed?code=wrong", {}, 401),
        ("/api/closed", {"x-functions-key": "right"}, 200),
        ("/api/closed?code=right", {"x-functions-key": "wrong"}, 401),
        ("/api/closed?code=wrong", {"x-functions-key": "right"}, 200),
        ("/admin/host/status", {}, 401),
        ("/admin/host/status?code=right", {}, 200),
    ],
)
def test_keys(serve_app: ServeApp, path: str, headers: dict[str, str], status: int) -> None:
    client = serve_app(
        """
        @app.route(auth_level=func.AuthLevel.ANONYMOUS)
        def open(req: func.HttpRequest) -> str: return "in"

        @app.route()
        def closed(req: func.HttpRequest) -> str: return "in"
        """,
        start="import azure.functions as func\napp = func.FunctionApp()\n",
        key="right",
    )
    response = client.get(path, headers=headers)
    assert response.status_code == status
    assert response.content or status == 401


def test_environment_of_the_app(serve_app: ServeApp, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"IsEncrypted": False, "Values": {"OWN": "value", "PATH": "not this"}}
    client = serve_app(
        """
        import os
        OWN = os.environ["OWN"]

        @app.route()
        def own(req: func.HttpRequest) -> str:
            return " ".join([OWN, os.environ["WEBSITE_HOSTNAME"], os.environ["AZURE_FUNCTIONS_ENVIRONMENT"]])
        """,
        files={"local.settings.json": json.dumps(settings)},
        port=7099,
    )
    assert client.get("/api/own").text == "value localhost:7099 Development"
    assert "Skipping 'PATH' from local settings" in capsys.readouterr().err


def test_settings_errors_are_raised(write_app: WriteApp) -> None:
    with pytest.raises(SettingsError, match="IsEncrypted"):
        create_app(write_app("", files={"local.settings.json": "{}"}))


def test_disabled_function_is_not_found(serve_app: ServeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureWebJobs.echo.Disabled", "true")
    assert serve_app(ECHO).get("/api/echo").status_code == 404


def test_own_pages(serve_app: ServeApp) -> None:
    client = serve_app(ECHO)
    assert "up and running" in client.get("/").text
    assert client.get("/admin/host/status").json()["state"] == "Running"


def test_cors(serve_app: ServeApp) -> None:
    client = serve_app(ECHO, cors=["https://a.example"])
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert client.request("OPTIONS", "/api/echo", headers=preflight).status_code == 200
    allowed = client.get("/api/echo", headers={"origin": "https://a.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    refused = client.get("/api/echo", headers={"origin": "https://b.example"})
    assert "access-control-allow-origin" not in refused.headers


def test_output_bindings_are_told_not_written(serve_app: ServeApp, caplog: pytest.LogCaptureFixture) -> None:
    client = serve_app(
        """
        @app.route()
        @app.queue_output(arg_name="out", queue_name="q", connection="AzureWebJobsStorage")
        def put(req: func.HttpRequest, out: func.Out[str]) -> str:
            out.set("message")
            return "done"
        """
    )
    assert client.get("/api/put").text == "done"
    assert "Output 'out' of 'Functions.put' was not written" in caplog.text

"""The host as a process: ready line, listing, keys, port, end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.functions_host.hosting import SECONDS

SOURCE = """
import os, time

@app.route(route="hello/{id?}", methods=["GET", "POST"], auth_level="FUNCTION")
def hello(req: func.HttpRequest) -> str:
    return req.get_body().decode() or f"hello from {os.environ['WEBSITE_HOSTNAME']} in {os.getcwd()}"

@app.route()
def forever(req: func.HttpRequest) -> str:
    print("begun", file=__import__("sys").stderr, flush=True)
    time.sleep(3600)

@app.queue_trigger(arg_name="msg", queue_name="q", connection="AzureWebJobsStorage")
def queued(msg: func.QueueMessage) -> None: ...
"""


def test_ready_line_listing_and_end(start: Any, tmp_path: Path) -> None:
    host = start("--port", "0", source=SOURCE)
    ready = host.ready()
    port = int(ready["url"].rpartition(":")[2])
    assert ready == {"url": f"http://127.0.0.1:{port}", "functions": ["hello", "forever", "queued"]}
    assert httpx.get(f"{ready['url']}/api/hello").text == f"hello from localhost:{port} in {tmp_path}"

    def chunks() -> Iterator[bytes]:
        yield b"chunk"

    assert httpx.post(f"{ready['url']}/api/hello", content=chunks()).text.startswith("hello from")
    assert httpx.post(f"{ready['url']}/api/hello", content=b"chunk").text == "chunk"
    output, log = host.end()
    assert (host.process.returncode, output) == (0, "")
    assert f"Functions:\n\n\thello: [GET,POST] http://localhost:{port}/api/hello/{{id?}}\n" in log
    assert f"\tforever:  http://localhost:{port}/api/forever\n" in log
    assert "\tqueued: queueTrigger\n" in log
    assert "Function queued does not run: 'q' is no queue name" in log


def test_caller_who_hangs_up_in_the_middle_of_a_body_leaves_no_trace(start: Any) -> None:
    host = start("--port", "0", source=SOURCE)
    url = host.ready()["url"]
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=SECONDS) as caller:
        caller.sendall(b"POST /api/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
    assert httpx.post(f"{url}/api/hello", content=b"whole").text == "whole"
    _, log = host.end()
    assert "Traceback" not in log
    assert log.count("Executing 'Functions.hello'") == 1


def test_keys_are_in_the_ready_line_and_not_in_the_log(start: Any) -> None:
    host = start("--port", "0", "--enable-auth", source=SOURCE)
    ready = host.ready()
    address = f"{ready['url']}/api/hello"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers={"x-functions-key": ready["key"]}).status_code == 200
    assert httpx.get(address, params={"code": ready["key"]}).status_code == 200
    assert ready["key"] not in host.end()[1]


def test_busy_port(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        host = start("-p", str(port), source=SOURCE)
        output, log = host.end()
    assert host.process.returncode == 1
    assert output == ""
    assert log == (
        f"Port {port} is unavailable. Close the process using that port, or specify another port using --port [-p].\n"
    )


def test_port_of_local_settings(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = json.dumps({"IsEncrypted": False, "Host": {"LocalHttpPort": port}})
    assert start(source=SOURCE, files={"local.settings.json": settings}).ready()["url"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("source", "files", "problem"),
    [
        ("alias = app", {}, "More than one FunctionApp"),
        ("", {"local.settings.json": "{}"}, '"IsEncrypted" must be false'),
        ("", {"host.json": "{}"}, '"version": "2.0"'),
    ],
)
def test_unusable_app(start: Any, source: str, files: dict[str, str], problem: str) -> None:
    host = start("--port", "0", source=source, files=files)
    output, log = host.end()
    assert (host.process.returncode, output) == (1, "")
    assert problem in log


def test_app_without_functions_says_so(start: Any) -> None:
    host = start("--port", "0", source="")
    assert host.ready()["functions"] == []
    assert "No job functions found." in host.end()[1]


@pytest.mark.parametrize("how", ["parent", "interrupt"])
def test_running_function_does_not_keep_the_process(start: Any, how: str) -> None:
    host = start("--port", "0", source=SOURCE)
    address = f"{host.ready()['url']}/api/forever"

    def call() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(address, timeout=SECONDS)

    caller = threading.Thread(target=call)
    caller.start()
    for line in host.process.stderr:
        if line == "begun\n":
            break
    if how == "interrupt":
        host.process.send_signal(signal.SIGINT)
    host.end()
    caller.join(SECONDS)
    assert host.process.returncode == 0

"""The pool's HTTP surface, in this process with real kernels and as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.identity import Identity
from local.part import Part
from local.session_pool.app import create_app
from local.session_pool.auth import TokenCheck
from local.session_pool.files import FILE_BYTES_MAX
from local.session_pool.sessions import SessionPool
from tests.local.session_pool.kernels import kernel_python
from tests.processes import all_gone, family
from tests.scripted_server import Answer, scripted_server

POOL = "http://pool/subscriptions/s/resourceGroups/g/sessionPools/p"
VERSION = "2025-10-02-preview"
ROOT = Path(__file__).parents[3]
BOUND_SECONDS = 90
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
BODIES = JSON | st.fixed_dictionaries(
    {
        "codeInputType": st.sampled_from(["Inline", "InlineBase64"]) | JSON,
        "executionType": st.sampled_from(["Synchronous", "Asynchronous"]) | JSON,
    },
    optional={"timeoutInSeconds": JSON, "outputStreamsMaxLength": JSON, "code": JSON},
)


def asked(code: str, **more: Any) -> dict[str, Any]:
    return {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, **more}


class Client:
    """Calls one session, or with `identifier=` another one."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        given_query = more.pop("query", {})
        query = {"api-version": VERSION, "identifier": "session-a", **given_query}
        return await self._http.request(method, POOL + path, params=query, **more)

    async def run(self, code: str, **more: Any) -> dict[str, Any]:
        reply = await self("POST", "/executions", json=asked(code, **more))
        assert reply.status_code == 200
        body: dict[str, Any] = reply.json()
        return body

    async def upload(self, name: str, content: bytes, directory: str = "") -> httpx.Response:
        return await self("POST", "/files", query={"path": directory}, files={"file": (name, content)})


def with_app(
    use: Callable[[Client], Awaitable[None]], *, kernels: bool = True, most: int = 100, tokens: TokenCheck | None = None
) -> None:
    async def main() -> None:
        python = kernel_python() if kernels else str(ROOT / "no-python")
        app = create_app(SessionPool(python, max_sessions=most, prewarmed=0), tokens)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, timeout=60) as http:
            await asyncio.wait_for(use(Client(http)), BOUND_SECONDS)

    asyncio.run(main())


def test_execution_reply_and_its_record() -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json=asked("print(6*7)\n1+1"), headers={"operation-id": "e-1"})
        body = reply.json()
        assert (body["id"], body["identifier"], body["status"]) == ("e-1", "session-a", "Succeeded")
        assert body["result"].pop("executionTimeInMilliseconds") >= 0
        assert body["result"] == {"stdout": "42\n", "stderr": "", "executionResult": 2}
        assert reply.headers["operation-id"] == "e-1"
        assert reply.headers["x-ms-new-allocation"] == "true"
        again = await call("POST", "/executions", json=asked("1"))
        assert again.headers["x-ms-new-allocation"] == "false"
        assert again.headers["x-ms-session-guid"] == reply.headers["x-ms-session-guid"]
        assert (await call("GET", "/executions/e-1")).json()["result"]["stdout"] == "42\n"
        assert (await call("GET", "/executions/e-2")).status_code == 404

    with_app(use)


def test_failed_code_is_a_successful_request() -> None:
    async def use(call: Client) -> None:
        body = await call.run("print('before')\n{}['sales']")
        assert (body["status"], body["result"]["stdout"], body["result"]["executionResult"]) == (
            "Failed",
            "before\n",
            "",
        )
        assert "KeyError: 'sales'" in body["result"]["stderr"]

    with_app(use)


def test_output_limit_and_timeout() -> None:
    async def use(call: Client) -> None:
        code = "print('x' * 9999)"
        assert len((await call.run(code))["result"]["stdout"]) == 4096
        assert len((await call.run(code, outputStreamsMaxLength=5000))["result"]["stdout"]) == 5000
        slow = await call.run("import time\ntime.sleep(60)", timeoutInSeconds=1)
        assert slow["status"] == "Failed"
        assert slow["result"]["stderr"].endswith("after 1 seconds")

    with_app(use)


def test_half_surrogate_pairs_come_out_as_question_marks() -> None:
    async def use(call: Client) -> None:
        assert (await call.run(r"'a\ud800'"))["result"]["executionResult"] == "a?"
        assert (await call.run(r"open(b'/mnt/data/a\xff', 'w').close()"))["status"] == "Succeeded"
        reply = await call("GET", "/files")
        assert [row["name"] for row in reply.json()["value"]] == ["a?"]

    with_app(use)


def test_files_go_up_and_down() -> None:
    async def use(call: Client) -> None:
        uploaded = await call.upload("ä b.csv", b"1,2\n")
        assert uploaded.status_code == 200
        assert (uploaded.json()["name"], uploaded.json()["sizeInBytes"]) == ("ä b.csv", 4)
        assert (await call.run("open('/mnt/data/ä b.csv').read()"))["result"]["executionResult"] == "1,2\n"
        await call.run("import os\nos.mkdir('/mnt/data/out')\nopen('/mnt/data/out/o.txt', 'w').write('made')")
        await call.run("os.symlink('/etc/passwd', '/mnt/data/link')")
        rows = (await call("GET", "/files", query={"recursive": "true"})).json()["value"]
        assert [(row["directory"], row["name"]) for row in rows] == [(".", "out"), (".", "ä b.csv"), ("out", "o.txt")]
        assert (await call("GET", "/files/o.txt/content", query={"path": "/mnt/data/out"})).content == b"made"
        assert (await call("GET", "/files/link/content")).status_code == 404
        name = quote("ä b.csv")
        assert (await call("GET", f"/files/{name}")).json() == uploaded.json()
        assert (await call("DELETE", f"/files/{name}")).status_code == 204
        assert (await call("DELETE", f"/files/{name}")).status_code == 404

    with_app(use)


def test_too_large_upload_is_refused_by_its_announced_length() -> None:
    async def use(call: Client) -> None:
        headers = {"Content-Length": str(FILE_BYTES_MAX * 2), "Content-Type": "multipart/form-data; boundary=b"}
        reply = await call("POST", "/files", content=b"", headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "FileTooLarge")

    with_app(use, kernels=False)


@pytest.mark.parametrize(
    "sent",
    [
        {"content": b"x"},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        {"files": {"other": ("x.txt", b"x")}},
        {"files": {"file": ("x.txt", b"x"), "more": ("y.txt", b"y")}},
        {"files": {"file": (None, b"x")}},
    ],
)
def test_upload_of_another_form_is_refused(sent: dict[str, Any]) -> None:
    async def use(call: Client) -> None:
        assert (await call("POST", "/files", **sent)).status_code == 400

    with_app(use, kernels=False)


def test_full_pool() -> None:
    async def use(call: Client) -> None:
        await call.run("1")
        reply = await call("POST", "/executions", query={"identifier": "session-b"}, json=asked("1"))
        assert (reply.status_code, reply.json()["code"]) == (429, "SessionsCountExceedsLimit")
        assert reply.headers["x-ms-error-code"] == "SessionsCountExceedsLimit"

    with_app(use, most=1)


def test_session_is_shown_and_deleted() -> None:
    async def use(call: Client) -> None:
        assert (await call("GET", "/session")).json()["error"]["code"] == "NoSessionFoundError"
        await call.run("x = 1")
        shown = (await call("GET", "/session")).json()
        assert shown["createdAt"] <= shown["lastAccessedAt"] < shown["expireAt"]
        assert (await call("DELETE", "/session")).status_code == 204
        assert (await call("DELETE", "/session")).status_code == 404
        assert (await call.run("x"))["status"] == "Failed"

    with_app(use)


@pytest.mark.parametrize("version", ["", "2024-02-02-preview", "2099-01-01"])
def test_unknown_version_is_answered_like_a_bad_token(version: str) -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", query={"api-version": version}, json=asked("1"))
        assert (reply.status_code, reply.content) == (401, b"")

    with_app(use, kernels=False)


def test_oldest_version_answers_202_and_knows_no_session_operations() -> None:
    async def use(call: Client) -> None:
        query = {"api-version": "2024-10-02-preview"}
        assert (await call("POST", "/executions", query=query, json=asked("1"))).status_code == 202
        assert (await call("GET", "/session", query=query)).status_code == 404

    with_app(use)


@pytest.mark.parametrize("identifier", ["", "abc", "x" * 129, "with space", "abcdé"])
def test_identifier_of_another_form(identifier: str) -> None:
    async def use(call: Client) -> None:
        reply = await call("GET", "/files", query={"identifier": identifier})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "SessionRequestValidationFailed")

    with_app(use, kernels=False)


def test_requests_outside_the_contract() -> None:
    async def use(call: Client) -> None:
        wrapped = await call("POST", "/executions", json={"properties": asked("1")})
        assert (wrapped.status_code, wrapped.json()["error"]["code"]) == (400, "SessionPropertiesMissing")
        assert (await call("POST", "/executions", content=b"{")).status_code == 400
        assert (await call("POST", "/executions", content=b"[" * 100_000)).status_code == 400
        assert (await call("GET", "/listSessions")).status_code == 501
        assert (await call("PATCH", "/files")).status_code == 404
        assert (await call("POST", "/executions", json=asked("1", executionType="Asynchronous"))).status_code == 501

    with_app(use, kernels=False)


def test_tokens_are_checked_before_anything_else() -> None:
    identity = Identity("example-header")
    keys = Answer(body=json.dumps(identity.key_set()).encode())
    token, _ = identity.token("https://dynamicsessions.io")

    async def use(call: Client) -> None:
        for headers in ({}, {"Authorization": "Bearer garbage"}):
            reply = await call("POST", "/executions", content=b"{", headers=headers)
            assert (reply.status_code, reply.content) == (401, b"")
        passed = await call("POST", "/executions", content=b"{", headers={"Authorization": f"Bearer {token}"})
        assert passed.status_code == 400

    with scripted_server(lambda number, request: keys) as server:
        with_app(use, kernels=False, tokens=TokenCheck(server.url, "https://dynamicsessions.io"))


@given(bodies=st.lists(BODIES, min_size=20, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body_gives_no_server_error(bodies: list[Any]) -> None:
    async def use(call: Client) -> None:
        for body in bodies:
            # Code that would run needs no kernel here: it is refused for its timeout.
            sent = {**body, "timeoutInSeconds": 0} if isinstance(body, dict) else body
            reply = await call("POST", "/executions", content=json.dumps(sent).encode())
            assert reply.status_code in (400, 501)

    with_app(use, kernels=False)


def test_any_file_name_gives_no_server_error() -> None:
    names = st.text(min_size=1, max_size=60)

    async def use(call: Client) -> None:
        loop = asyncio.get_running_loop()

        def check(coroutine: Any) -> httpx.Response:
            reply: httpx.Response = asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
            return reply

        @given(name=names, directory=st.text(max_size=20))
        @settings(max_examples=60, deadline=None)
        def explore(name: str, directory: str) -> None:
            uploaded = check(call.upload(name, b"x", directory))
            assert uploaded.status_code in (200, 400, 404)
            query = {"path": directory}
            for method, path in (("GET", "/content"), ("GET", ""), ("DELETE", "")):
                assert check(call(method, f"/files/{quote(name, safe='')}{path}", query=query)).status_code < 500
            assert check(call("GET", "/files", query={"recursive": "true"})).status_code == 200

        await asyncio.to_thread(explore)

    with_app(use)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Part]:
    part = Part(
        "pool",
        [
            *(sys.executable, "-m", "local.session_pool", "--with-parent", "--unsafe-no-sandbox"),
            *("--kernel-python", kernel_python(), "--jwks-url", "http://127.0.0.1:9/keys", "--prewarmed", "1"),
        ],
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
        folder=tmp_path,
        keep_log=True,
    )
    yield part
    part.kill()


def test_process_says_its_endpoint_and_leaves_no_kernel(served: Part) -> None:
    ready: Any = served.wait_ready(30)
    endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
    assert endpoint.startswith(ready["url"] + "/subscriptions/")
    reply = httpx.post(f"{endpoint}/executions", params={"api-version": VERSION}, trust_env=False, timeout=10)
    assert (reply.status_code, reply.content) == (401, b"")
    deadline = time.monotonic() + BOUND_SECONDS
    while len(processes := family([served.pid])) < 2 and time.monotonic() < deadline:
        pass
    assert len(processes) >= 2, "no kernel was warmed"
    served.stop(30)
    assert not served.running
    assert all_gone(processes)


def test_process_wants_consent() -> None:
    command = [sys.executable, "-m", "local.session_pool", "--jwks-url", "http://127.0.0.1:9/keys"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--unsafe-no-sandbox" in ended.stderr
    assert ended.stdout == ""

"""The pools' HTTP surface, in this process with real kernels."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.identity import Identity
from local.session_pool import operations
from local.session_pool.auth import TokenCheck, keys_at
from local.session_pool.files import FILE_BYTES_MAX
from local.session_pool.sandbox import Limits
from tests.local.session_pool.pools import FLAT, NEWEST, PATH, WRAPPED, A, B, Client, Made, asked, with_app
from tests.scripted_server import Answer, scripted_server

NO_SESSIONS = Made(sessions=False)
FIRST_FLAT = FLAT[0]
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


def error(reply: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which its header repeats."""
    body = reply.json()
    code = body.get("error", body)["code"]
    assert reply.headers["x-ms-error-code"] == code
    return reply.status_code, code


def test_execution_reply_and_its_record() -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json=asked("print(6*7)\n1+1"), headers={"operation-id": "e-1"})
        body = reply.json()
        assert (body["id"], body["identifier"], body["status"]) == ("e-1", A, "Succeeded")
        assert body["result"].pop("executionTimeInMilliseconds") >= 0
        assert body["result"] == {"stdout": "42\n", "stderr": "", "executionResult": 2}
        assert reply.headers["operation-id"] == "e-1"
        assert reply.headers["x-ms-new-allocation"] == "true"
        again = await call("POST", "/executions", json=asked("1"))
        assert again.headers["x-ms-new-allocation"] == "false"
        assert again.headers["x-ms-session-guid"] == reply.headers["x-ms-session-guid"]
        assert (await call("GET", "/executions/e-1")).json()["result"]["stdout"] == "42\n"
        assert (await call("GET", "/executions/e-2")).status_code == 404
        assert (await call("GET", "/executions/e-1", query={"identifier": B})).status_code == 404

    with_app(use)


@pytest.mark.parametrize("given_id", [b"", b"a b", b"a/b", b"\xe9", b"\xc3\xa9", b"a\tb", b"x" * 101])
def test_execution_id_of_another_form_is_replaced(given_id: bytes) -> None:
    async def use(call: Client) -> None:
        headers = [(b"operation-id", given_id)]
        reply = await call("POST", "/executions", json={"shellCommand": "true"}, headers=headers)
        execution_id = reply.headers["operation-id"]
        assert execution_id.encode("latin-1") != given_id
        assert (await call("GET", f"/executions/{execution_id}")).status_code == 200

    with_app(use, Made(kind="Shell"))


def test_failed_code_is_a_successful_request() -> None:
    async def use(call: Client) -> None:
        body = await call.run("print('before')\n{}['sales']")
        result = body["result"]
        assert (body["status"], result["stdout"], result["executionResult"]) == ("Failed", "before\n", "")
        assert "KeyError: 'sales'" in result["stderr"]

    with_app(use)


def test_failure_that_the_kernel_cannot_show_is_one_all_the_same() -> None:
    async def use(call: Client) -> None:
        await call.run("get_ipython().showtraceback = lambda *given, **named: None")
        assert (await call.run("1 / 0"))["status"] == "Failed"
        assert (await call.run("6 * 7"))["status"] == "Succeeded"

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


def test_code_gives_no_server_error_whatever_it_returns() -> None:
    shown = "class Shown:\n    def __init__(self, text): self.text = text\n    def __repr__(self): return self.text\n"
    shown += "    def _repr_mimebundle_(self, **_): return dict.fromkeys(types, self.text)\n"
    shown += "types = 'application/x-session-result', 'text/plain'"

    async def use(call: Client) -> None:
        await call.run(shown)
        forge = "k = get_ipython().kernel\ndef forge(*m): k.session.send(k.iopub_socket, *m, parent=k.get_parent())"
        await call.run(forge)
        for code in (
            *("Shown('1e999')", "Shown('-1e999')", "Shown('[' * 990 + ']' * 990)", "Shown('{\"a\": NaN}')"),
            *("forge('stream', {})", "forge('stream', {'name': 'stdout', 'text': 5})", "forge('error', {})"),
            *("forge('execute_result', {'data': 5})", "forge('display_data', {'data': {'image/png': {}}})"),
            *("k.iopub_socket.send_multipart([b'?'])", "k.iopub_socket.send_multipart([b'?', b'<IDS|MSG>', b'?'])"),
            *("forge('execute_result', {'data': {'text/plain': {}}})", "10 ** 5000", "print('x' * 10**7)"),
        ):
            assert (await call.run(code))["status"] in ("Succeeded", "Failed"), code
            query = {"api-version": WRAPPED[0]}
            reply = await call("POST", "/code/execute", query=query, json={"properties": asked(code)})
            assert reply.status_code == 200, code
        assert (await call.run("6 * 7"))["result"]["executionResult"] == 42

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
        assert error(await call("DELETE", f"/files/{name}")) == (404, "DeleteFileError")
        assert error(await call("GET", f"/files/{name}")) == (404, "FileNotFound")

    with_app(use)


@pytest.mark.parametrize(
    ("name", "stored"), [("/mnt/data/a.csv", "a.csv"), ("mnt/data/a.csv", "a.csv"), ("/etc/a.csv", None)]
)
def test_file_named_with_the_path_of_its_directory(name: str, stored: str | None) -> None:
    async def use(call: Client) -> None:
        reply = await call.upload(name, b"x")
        assert (reply.status_code, reply.json().get("name")) == ((200, stored) if stored else (400, None))

    with_app(use)


def test_too_large_upload_is_refused_by_its_announced_length() -> None:
    async def use(call: Client) -> None:
        headers = {"Content-Length": str(FILE_BYTES_MAX * 2), "Content-Type": "multipart/form-data; boundary=b"}
        reply = await call("POST", "/files", content=b"", headers=headers)
        assert error(reply) == (413, "FileTooLarge")

    with_app(use, NO_SESSIONS)


def test_too_large_upload_without_a_length_is_refused_while_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "FILE_BYTES_MAX", 1000)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    sent = 0

    async def use(call: Client) -> None:
        async def pieces() -> Any:
            nonlocal sent
            yield head
            for _ in range(1000):
                sent += 1000
                yield b"x" * 1000

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert error(await call("POST", "/files", content=pieces(), headers=headers)) == (413, "FileTooLarge")

    with_app(use, NO_SESSIONS)
    assert sent < 200_000


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
        assert error(await call("POST", "/files", **sent)) == (400, "SessionRequestValidationFailed")

    with_app(use, NO_SESSIONS)


def test_files_of_any_time_are_listed() -> None:
    async def use(call: Client) -> None:
        await call.run("import os\nopen('/mnt/data/x', 'w').close()\nos.utime('/mnt/data/x', (1e15, 1e15))")
        reply = await call("GET", "/files")
        assert (reply.status_code, reply.json()["value"][0]["lastModifiedAt"]) == (200, "9999-12-31T23:59:59.000000Z")
        assert (await call("GET", "/files/x")).status_code == 200

    with_app(use, Made(sandboxed=True))


def test_upload_to_a_full_disk() -> None:
    async def use(call: Client) -> None:
        assert error(await call.upload("x", b"x" * 3_000_000)) == (507, "InsufficientStorage")
        assert (await call("GET", "/files")).json()["value"] == []
        assert (await call.upload("x", b"x")).status_code == 200

    with_app(use, Made(kind="Shell", sandboxed=True, limits=Limits(disk_bytes=2_000_000)))


def test_full_pool() -> None:
    async def use(call: Client) -> None:
        await call.run("1")
        reply = await call("POST", "/executions", query={"identifier": B}, json=asked("1"))
        assert error(reply) == (429, "SessionsCountExceedsLimit")
        assert reply.json()["message"] == (
            "The request sessions count is '1'. There are already '1' active sessions and the maximum active sessions "
            "count is '1'."
        )

    with_app(use, Made(most=1))


def test_session_that_cannot_be_started() -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json=asked("1"))
        assert error(reply) == (503, "SessionAllocationFailed")
        assert int(reply.headers["retry-after"]) > 0
        # It takes no place.
        assert (await call("GET", "/listSessions")).json()["sessions"] == []

    with_app(use, Made(sessions=False, most=1))


def test_session_is_shown_and_deleted() -> None:
    async def use(call: Client) -> None:
        assert error(await call("GET", "/session")) == (404, "NoSessionFoundError")
        await call.run("x = 1")
        shown = (await call("GET", "/session")).json()
        assert shown["identifier"] == A
        assert shown["createdAt"] <= shown["lastAccessedAt"] < shown["expireAt"]
        assert (await call("DELETE", "/session")).status_code == 204
        assert error(await call("DELETE", "/session")) == (404, "NoSessionFoundError")
        assert (await call.run("x"))["status"] == "Failed"
        assert (await call("GET", "/session")).json()["etag"] != shown["etag"]

    with_app(use)


def test_sessions_are_listed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "SESSIONS_LISTED", 2)
    identifiers = [f"session-{number}" for number in range(5)]

    async def use(call: Client) -> None:
        for identifier in identifiers:
            assert (await call("GET", "/files", query={"identifier": identifier})).status_code == 200
        seen: list[list[str]] = []
        reply = await call("GET", "/listSessions", query={"identifier": None})
        while True:
            seen.append([row["identifier"] for row in reply.json()["sessions"]])
            link = reply.json()["nextLink"]
            if link is None:
                break
            assert link.startswith(f"{call.pool}/listSessions?")
            reply = await call.http.get(link)
        assert seen == [identifiers[:2], identifiers[2:4], identifiers[4:]]
        assert (await call("GET", "/listSessions", query={"skip": "9"})).json() == {"sessions": [], "nextLink": None}
        for skip in ("-1", "x", "", "1.5", "9" * 7):
            assert error(await call("GET", "/listSessions", query={"skip": skip}))[0] == 400

    with_app(use, Made(kind="Shell"))


def test_metadata_lists_what_sessions_have_installed() -> None:
    async def use(call: Client) -> None:
        body = (await call("GET", "/metadata", query={"identifier": None})).json()
        versions = {row["name"]: row["version"] for row in body["preInstalledPackages"]}
        code = "import numpy, platform\nplatform.python_version(), numpy.__version__"
        python, numpy = (await call.run(code))["result"]["executionResult"]
        assert body["runtimes"] == [{"name": "python", "version": python}]
        assert versions["numpy"] == numpy
        assert body["jupyterKernel"]["version"] == versions["ipykernel"]
        assert body["createdAt"] <= body["lastUpdatedAt"]

    with_app(use)


def test_asynchronous_execution_is_polled() -> None:
    code = "import os\nwhile not os.path.exists('/mnt/data/go'): pass\n6 * 7"

    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json=asked(code, executionType="Asynchronous"))
        body = reply.json()
        assert (reply.status_code, body.pop("id")) == (202, reply.headers["operation-id"])
        assert body == {"identifier": A, "executionType": "Asynchronous", "status": "Running"}
        link = call.pool + reply.headers["operation-location"]
        assert (await call.http.get(link)).json()["status"] == "Running"
        assert (await call.upload("go", b"")).status_code == 200
        while (polled := (await call.http.get(link)).json())["status"] == "Running":
            # A request in this process need not let others run.
            await asyncio.sleep(0)
        assert (polled["status"], polled["executionType"]) == ("Succeeded", "Asynchronous")
        assert polled["result"]["executionResult"] == 42

    with_app(use)


def test_asynchronous_execution_of_a_deleted_session_is_gone_with_it() -> None:
    async def use(call: Client) -> None:
        body = asked("while True: pass", executionType="Asynchronous")
        link = call.pool + (await call("POST", "/executions", json=body)).headers["operation-location"]
        assert (await call("DELETE", "/session")).status_code == 204
        assert error(await call.http.get(link)) == (404, "NoSessionFoundError")
        assert (await call.run("1"))["result"]["executionResult"] == 1

    with_app(use)


@pytest.mark.parametrize("identifier", ["a&b=c%d", "a#b?c", "x/../y", "with+plus", "{[(<;:'\"|`~"])
def test_links_work_for_every_identifier(identifier: str) -> None:
    async def use(call: Client) -> None:
        query = {"identifier": identifier}
        reply = await call("POST", "/executions", query=query, json=asked("1"))
        link = call.pool + reply.headers["operation-location"]
        assert (await call.http.get(link)).json()["identifier"] == identifier

    with_app(use)


def test_empty_kernel_is_read_by_the_newest_version_only() -> None:
    async def use(call: Client) -> None:
        await call.run("x = 1")
        code = "'x' in globals()"
        assert (await call.run(code, useEmptyKernel=True))["result"]["executionResult"] is False
        assert (await call.run(code, useEmptyKernel=False))["result"]["executionResult"] is True
        query = {"api-version": FLAT[1]}
        older = await call("POST", "/executions", query=query, json=asked(code, useEmptyKernel=True))
        assert older.json()["result"]["executionResult"] is True

    with_app(use)


def test_empty_kernel_that_dies_leaves_the_sessions_own_alone() -> None:
    async def use(call: Client) -> None:
        await call.run("x = 1")
        lost = await call.run("import os\nos._exit(1)", useEmptyKernel=True)
        assert (lost["status"], lost["result"]["stderr"]) == ("Failed", "Execution aborted")
        assert (await call.run("x"))["result"]["executionResult"] == 1

    with_app(use)


def test_versions_share_sessions() -> None:
    async def use(call: Client) -> None:
        await call.run("x = 42")
        for version in WRAPPED:
            query = {"api-version": version}
            reply = await call("POST", "/code/execute", query=query, json={"properties": asked("x")})
            assert (reply.status_code, reply.json()["properties"]["result"]) == (200, 42)
        body = {"properties": {"identifier": A, "pythonCode": "x", **asked("")}}
        oldest = await call("POST", "/python/execute", query={"api-version": None, "identifier": None}, json=body)
        assert (oldest.status_code, oldest.json()["result"]) == (200, 42)
        for version, status in zip(FLAT, (202, 200, 200), strict=True):
            reply = await call("POST", "/executions", query={"api-version": version}, json=asked("x"))
            assert (reply.status_code, reply.json()["result"]["executionResult"]) == (status, 42)

    with_app(use)


def test_shell_pool_answers_exit_codes_and_refuses_code() -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json={"shellCommand": "echo out; echo err >&2; exit 7"})
        body = reply.json()
        assert (body["identifier"], body["status"]) == (A, "7")
        assert (body["result"]["stdout"], body["result"]["stderr"]) == ("out\n", "err\n")
        assert error(await call("POST", "/executions", json=asked("1"))) == (400, "SessionPropertiesMissing")
        for version in (WRAPPED[0], FIRST_FLAT):
            path = "/code/execute" if version in WRAPPED else "/executions"
            reply = await call("POST", path, query={"api-version": version}, json={"shellCommand": "true"})
            assert error(reply) == (400, "SessionRequestNotSupported")

    with_app(use, Made(kind="Shell"))


def test_shell_command_behind_one_that_timed_out_has_a_number_as_its_status() -> None:
    async def use(call: Client) -> None:
        slow = {"shellCommand": "touch /mnt/data/begun; sleep 600", "timeoutInSeconds": 1}
        running = asyncio.create_task(call("POST", "/executions", json=slow))
        while (await call("GET", "/files/begun")).status_code != 200:
            await asyncio.sleep(0)
        waiting = (await call("POST", "/executions", json={"shellCommand": "true"})).json()
        assert (waiting["status"], waiting["result"]["stderr"]) == ("-1", "Execution aborted")
        timed_out = (await running).json()
        assert timed_out["status"] == "-1"
        assert timed_out["result"]["stderr"].endswith("after 1 seconds")
        assert (await call("POST", "/executions", json={"shellCommand": "true"})).json()["status"] == "0"

    with_app(use, Made(kind="Shell"))


@pytest.mark.parametrize("version", ["", None, "2023-08-01-preview", "2024-09-01", "2099-01-01", NEWEST.upper()])
def test_unknown_version_is_answered_like_a_bad_token(version: str | None) -> None:
    async def use(call: Client) -> None:
        for method, path in (("POST", "/executions"), ("GET", "/files"), ("GET", "/metadata"), ("GET", "/none")):
            reply = await call(method, path, query={"api-version": version}, json=asked("1"))
            assert (reply.status_code, reply.content) == (401, b"")

    with_app(use, NO_SESSIONS)


@pytest.mark.parametrize(
    ("version", "method", "path"),
    [
        *((version, "POST", "/executions") for version in WRAPPED),
        *((version, "GET", "/session") for version in (*WRAPPED, FIRST_FLAT)),
        *((version, "DELETE", "/session") for version in (*WRAPPED, FIRST_FLAT)),
        *((version, "GET", "/listSessions") for version in (*WRAPPED, FIRST_FLAT)),
        *((version, "GET", "/metadata") for version in (*WRAPPED, FIRST_FLAT)),
        *((version, "POST", "/code/execute") for version in FLAT),
        *((version, "POST", "/files/upload") for version in FLAT),
        (WRAPPED[0], "POST", "/files"),
        (NEWEST, "GET", "/files/content/x.txt"),
    ],
)
def test_operation_of_another_version(version: str, method: str, path: str) -> None:
    async def use(call: Client) -> None:
        reply = await call(method, path, query={"api-version": version}, json=asked("1"))
        assert error(reply) == (400, "SessionRequestNotSupported")
        assert version in reply.json()["error"]["message"]

    with_app(use, NO_SESSIONS)


@pytest.mark.parametrize("version", [*WRAPPED, *FLAT])
@pytest.mark.parametrize("path", ["", "/none", "/executions/a/b", "/files/a/b/c", "/python/none", "/execute"])
def test_operation_of_no_version(version: str, path: str) -> None:
    async def use(call: Client) -> None:
        reply = await call("GET", path, query={"api-version": version})
        assert error(reply) == (404, "NotFound")

    with_app(use, NO_SESSIONS)


def test_method_of_no_version() -> None:
    async def use(call: Client) -> None:
        for method, path in (("PATCH", "/files"), ("PUT", "/session"), ("DELETE", "/executions")):
            reply = await call(method, path)
            assert error(reply) == (400, "SessionRequestValidationFailed")
            assert reply.json()["error"]["target"] == "method"

    with_app(use, NO_SESSIONS)


@pytest.mark.parametrize("path", ["/.management/stopSession", "/.management/getSession", "/mcp"])
def test_what_only_the_service_has_is_named(path: str) -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", path)
        assert error(reply) == (501, "NotImplemented")
        assert path in reply.json()["error"]["message"]

    with_app(use, NO_SESSIONS)


@pytest.mark.parametrize("identifier", ["", None, "abc", "x" * 129, "with space", "abcdé", "abcd\n", "a\\bcd"])
def test_identifier_of_another_form(identifier: str | None) -> None:
    async def use(call: Client) -> None:
        reply = await call("GET", "/files", query={"identifier": identifier})
        assert error(reply) == (400, "SessionRequestValidationFailed")
        assert not identifier or len(identifier) < 4 or identifier not in reply.text

    with_app(use, NO_SESSIONS)


def test_requests_outside_the_contract() -> None:
    async def use(call: Client) -> None:
        wrapped = await call("POST", "/executions", json={"properties": asked("1")})
        assert error(wrapped) == (400, "SessionPropertiesMissing")
        for content in (b"{", b"", b"\xff", b"[" * 100_000):
            reply = await call("POST", "/executions", content=content)
            assert (reply.status_code, reply.json()["status"]) == (400, 400)
            assert reply.headers["content-type"] == "application/problem+json"

    with_app(use, NO_SESSIONS)


def test_loose_pool_forgives() -> None:
    async def use(call: Client) -> None:
        for version in (None, "2099-01-01", NEWEST):
            query = {"api-version": version}
            flat = await call("POST", "/executions", query=query, json=asked("6 * 7", timeoutInSeconds=600))
            wrapped = await call("POST", "/executions", query=query, json={"properties": asked("6 * 7")})
            for reply in (flat, wrapped):
                assert (reply.status_code, reply.json()["result"]["executionResult"]) == (200, 42)
            old = await call("POST", "/code/execute", query=query, json={"properties": asked("6 * 7")})
            assert (old.status_code, old.json()["properties"]["result"]) == (200, 42)
        reply = await call("POST", "/code/execute", query={"api-version": WRAPPED[0]}, json=asked("6 * 7"))
        assert (reply.status_code, reply.json()["properties"]["result"]) == (200, 42)
        reply = await call("POST", "/executions", query={"api-version": WRAPPED[0]}, json=asked("6 * 7"))
        assert (reply.status_code, reply.json()["result"]["executionResult"]) == (200, 42)
        # What is wrong in every version stays wrong.
        assert error(await call("GET", "/none")) == (404, "NotFound")
        assert error(await call("POST", "/executions", json={})) == (400, "SessionPropertiesMissing")

    with_app(use, Made(loose=True))


def test_pools_are_told_apart_by_their_names() -> None:
    async def use(call: Client) -> None:
        base = "http://pool/subscriptions/s/resourceGroups/g/sessionPools"
        query = {"api-version": NEWEST, "identifier": A}
        for pool, number in (("First", 1), ("second", 2)):
            body = asked(f"x = {number}\nx")
            reply = await call.http.post(f"{base}/{pool}/executions", params=query, json=body)
            assert reply.json()["result"]["executionResult"] == number
        for url, number in (
            (f"{base}/first", 1),
            (f"{base}/SECOND", 2),
            (f"{base}/second/", 2),
            (f"{base}/second//", 2),
            ("http://pool//SUBSCRIPTIONS/s/RESOURCEGROUPS/g/SESSIONPOOLS/second", 2),
            ("http://pool", 1),
            ("http://pool/", 1),
        ):
            for end in ("/executions", "/executions/"):
                reply = await call.http.post(url + end, params=query, json=asked("x"))
                assert reply.json()["result"]["executionResult"] == number, url
        unknown = await call.http.post(f"{base}/third/executions", params=query, json=asked("x"))
        assert error(unknown) == (404, "SessionPoolNotFound")

    with_app(use, pools={"First": Made(), "second": Made()})


def test_only_pool_answers_to_any_name() -> None:
    async def use(call: Client) -> None:
        for path in (PATH, PATH.replace("/p", "/other"), ""):
            reply = await call.http.get(f"http://pool{path}/listSessions", params={"api-version": NEWEST})
            assert reply.json() == {"sessions": [], "nextLink": None}

    with_app(use, NO_SESSIONS)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://example.com"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_web_pages_are_refused(headers: dict[str, str], passes: bool) -> None:
    async def use(call: Client) -> None:
        for path in (f"{PATH}/listSessions", "/listSessions", "/.local/faults"):
            reply = await call.http.get(f"http://pool{path}", params={"api-version": NEWEST}, headers=headers)
            assert (reply.status_code, "access-control-allow-origin" in reply.headers) == (
                200 if passes else 403,
                False,
            )
        asking = await call.http.options(f"http://pool{PATH}/executions", headers={"Origin": "https://example.com"})
        assert asking.status_code >= 400

    with_app(use, NO_SESSIONS)


def test_tokens_are_checked_before_anything_else() -> None:
    identity = Identity("example-header")
    keys = Answer(body=json.dumps(identity.key_set()).encode())
    token, _ = identity.token("https://dynamicsessions.io")

    async def use(call: Client) -> None:
        for headers in ({}, {"Authorization": "Bearer garbage"}):
            for path in ("/executions", "/none", "/mcp", "/python/execute"):
                reply = await call("POST", path, content=b"{", headers=headers)
                assert (reply.status_code, reply.content) == (401, b"")
        passed = await call("POST", "/executions", content=b"{", headers={"Authorization": f"Bearer {token}"})
        assert passed.status_code == 400

    with scripted_server(lambda number, request: keys) as server:
        tokens = TokenCheck(keys_at(server.url), "https://dynamicsessions.io")
        with_app(use, Made(sessions=False, tokens=tokens))


@given(bodies=st.lists(BODIES, min_size=20, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_body_gives_no_server_error(bodies: list[Any]) -> None:
    async def use(call: Client) -> None:
        for body in bodies:
            # Code that would run needs no kernel here: it is refused for its timeout.
            sent = {**body, "timeoutInSeconds": 0} if isinstance(body, dict) else body
            reply = await call("POST", "/executions", content=json.dumps(sent).encode())
            assert reply.status_code == 400

    with_app(use, NO_SESSIONS)


PATHS = st.lists(
    st.sampled_from(
        ["executions", "files", "content", "session", "listSessions", "python", "code", "execute", "..", ""]
    )
    | st.text(max_size=8),
    max_size=4,
)


@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
            PATHS,
            st.dictionaries(
                st.sampled_from(["api-version", "identifier", "path", "skip", "recursive", "filename"]) | st.text(),
                st.sampled_from([*WRAPPED, *FLAT, A]) | st.text(max_size=20),
            ),
            st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()),
        ),
        min_size=20,
        max_size=20,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_gives_no_unforeseen_error(requests: list[Any]) -> None:
    async def use(call: Client) -> None:
        for method, parts, query, body in requests:
            path = "/".join(["", *(quote(part, safe="") for part in parts)])
            reply = await call(method, path, query=query, content=body)
            assert reply.status_code in (200, 202, 204, 400, 401, 404, 405, 413, 429, 501)
            assert "Traceback" not in reply.text

    with_app(use, Made(kind="Shell", most=3))


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

    with_app(use, Made(kind="Shell"))

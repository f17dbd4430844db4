"""The versions of early 2024 and the paths before them, in the form that published clients send and read."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.pool import PNG, Emulator, Pool, body, error_code, wrapped

pytestmark = pytest.mark.local_only("older versions may be retired")

VERSIONS = ("2024-02-02-preview", "2024-08-02-preview")
PICTURE = f"import base64\nfrom IPython.display import Image\nImage(data=base64.b64decode('{PNG}'))"


def run(pool: Pool, identifier: str, code: str, version: str = VERSIONS[0], **fields: Any) -> dict[str, Any]:
    reply = pool.request("POST", "/code/execute", identifier, version=version, json=wrapped(code, **fields))
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def python_run(pool: Pool, code: str, **properties: Any) -> dict[str, Any]:
    """As the tutorial's executor does: without a version, and with the identifier in the body."""
    row = {"codeInputType": "inline", "executionType": "synchronous", "timeoutInSeconds": 100}
    reply = pool.request(
        "POST", "/python/execute", version=None, json={"properties": {**row, "pythonCode": code, **properties}}
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.parity("OLD-01", "OLD-02")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrapped_execution(pool: Pool, session: str, version: str) -> None:
    found = run(pool, session, "print(6 * 7)\n1 + 1", version)
    milliseconds = found["properties"].pop("executionTimeInMilliseconds")
    assert isinstance(milliseconds, int)
    properties = {"status": "Success", "stdout": "42\n", "stderr": "", "result": 2, "executionResult": 2}
    assert found == {"$id": "1", "properties": {"$id": "2", **properties}}


@pytest.mark.parity("OLD-01")
@pytest.mark.parametrize(
    ("code", "stderr"),
    [("1 / 0", "ZeroDivisionError"), ("import time; time.sleep(9)", "Request timed out waiting for code execution")],
)
def test_a_failure(pool: Pool, session: str, code: str, stderr: str) -> None:
    found = run(pool, session, code, timeoutInSeconds=1)["properties"]
    assert (found["status"], found["result"]) == ("Failure", "")
    assert stderr in found["stderr"]


@pytest.mark.parity("OLD-03")
@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("print(1)", ""),
        ("2", 2),
        ("[1, 2.5]", [1, 2.5]),
        ("True", "True"),
        ("['numpy', 'pandas']", "['numpy', 'pandas']"),
        ("{1: 2}", "{1: 2}"),
    ],
)
def test_the_value_is_the_json_in_what_the_kernel_prints(pool: Pool, session: str, code: str, value: object) -> None:
    assert run(pool, session, code)["properties"]["result"] == value


@pytest.mark.parity("OLD-04")
def test_a_picture_comes_under_one_name_only(pool: Pool, session: str) -> None:
    found = run(pool, session, PICTURE)["properties"]
    assert (found["result"]["type"], found["result"]["format"]) == ("image", "png")
    assert "executionResult" not in found


@pytest.mark.parity("OLD-05")
@pytest.mark.parametrize("sent", [body("1"), {}, {"properties": {}}, {"properties": None}, []])
def test_another_body_misses_properties(pool: Pool, session: str, sent: object) -> None:
    reply = pool.request("POST", "/code/execute", session, version=VERSIONS[0], json=sent)
    assert (reply.status_code, error_code(reply)) == (400, "SessionPropertiesMissing")


@pytest.mark.parity("OLD-05")
def test_a_lenient_pool_takes_a_flat_body(lenient: Emulator) -> None:
    pool = lenient.pool()
    reply = pool.request("POST", "/code/execute", pool.new_identifier(), version=VERSIONS[0], json=body("6 * 7"))
    assert reply.json()["properties"]["result"] == 42


@pytest.mark.parity("OLD-06")
def test_files_are_listed_in_an_envelope(pool: Pool, fresh: str) -> None:
    empty = pool.request("GET", "/files", fresh, version=VERSIONS[0])
    assert (empty.status_code, empty.json()["value"]) == (200, [])
    pool.upload("inner.txt", b"1", fresh, path="directory")
    uploaded = pool.request("POST", "/files/upload", fresh, version=VERSIONS[0], files={"file": ("a b.csv", b"12")})
    listed = pool.request("GET", "/files", fresh, version=VERSIONS[0])
    one = pool.request("GET", "/files/a%20b.csv", fresh, version=VERSIONS[0])
    assert uploaded.status_code == listed.status_code == one.status_code == 200
    assert uploaded.json() == listed.json() == one.json()
    item = listed.json()["value"][0]
    time = item["properties"].pop("lastModifiedTime")
    assert time.endswith("Z")
    assert item == {"$id": "2", "properties": {"$id": "3", "filename": "a b.csv", "size": 2}}


@pytest.mark.parity("OLD-07", "OLD-08")
def test_a_file_is_downloaded_and_deleted(pool: Pool, session: str) -> None:
    pool.upload("x.txt", b"content", session)
    reply = pool.request("GET", "/files/content/x.txt", session, version=VERSIONS[1])
    assert (reply.status_code, reply.content) == (200, b"content")
    assert pool.request("DELETE", "/files/x.txt", session, version=VERSIONS[1]).status_code == 204
    assert pool.request("GET", "/files/content/x.txt", session, version=VERSIONS[1]).status_code == 404


@pytest.mark.parity("OLD-09")
def test_asynchronous_executions_are_not_implemented(pool: Pool, session: str) -> None:
    sent = wrapped("1", executionType="asynchronous")
    reply = pool.request("POST", "/code/execute", session, version=VERSIONS[0], json=sent)
    assert (reply.status_code, error_code(reply)) == (501, "NotImplemented")


@pytest.mark.parity("OLD-10")
def test_versions_share_one_session(pool: Pool, fresh: str) -> None:
    run(pool, fresh, "kept = 5")
    assert pool.result("kept", fresh)["executionResult"] == 5
    assert pool.request("DELETE", "/session", fresh).status_code == 204
    assert run(pool, fresh, "'kept' in globals()")["properties"]["result"] == "False"


@pytest.mark.parity("OLD-11")
@pytest.mark.parametrize("where", ["body", "query"])
def test_the_tutorials_execution(pool: Pool, session: str, where: str) -> None:
    found = python_run(pool, "print(6 * 7)", identifier=session)
    if where == "query":
        sent = {"properties": {"codeInputType": "Inline", "executionType": "Synchronous", "pythonCode": "print(6 * 7)"}}
        reply = pool.request("POST", "/python/execute", session, version=VERSIONS[0], json=sent)
        found = dict(reply.json())
    assert (found["status"], found["stdout"], found["stderr"], found["result"]) == ("Success", "42\n", "", "")
    assert "error" not in found


@pytest.mark.parity("OLD-11")
def test_the_tutorials_failure(pool: Pool, session: str) -> None:
    found = python_run(pool, "1 / 0", identifier=session)
    assert found["status"] == "Failure"
    assert "ZeroDivisionError" in found["stderr"]


@pytest.mark.parity("OLD-11")
def test_the_oldest_paths_need_an_identifier_too(pool: Pool) -> None:
    row = {"codeInputType": "inline", "executionType": "synchronous", "pythonCode": "1"}
    assert pool.request("POST", "/python/execute", version=None, json={"properties": row}).status_code == 400
    assert pool.request("GET", "/python/files", version=None).status_code == 400


@pytest.mark.parity("OLD-12")
def test_the_oldest_files(pool: Pool, fresh: str) -> None:
    uploaded = pool.request("POST", "/python/uploadFile", fresh, version=None, files={"file": ("x.txt", b"123")})
    listed = pool.request("GET", "/python/files", fresh, version=VERSIONS[0])
    (item,) = listed.json()["$values"]
    assert uploaded.json()["$values"] == [item]
    assert (item["filename"], item["size"], item["bytes"]) == ("x.txt", 3, 3)
    assert item["last_modified_time"].endswith("Z")
    assert (uploaded.json()["filename"], uploaded.json()["bytes"]) == ("x.txt", 3)
    for name in ("filename", "fileName"):
        reply = pool.request("GET", "/python/downloadFile", fresh, version=None, query={name: "x.txt"})
        assert (reply.status_code, reply.content) == (200, b"123")

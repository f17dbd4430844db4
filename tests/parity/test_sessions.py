"""The life of a session, the list of sessions, what they have installed, and the headers that tell of them."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import pytest

from local.part import PartFailed
from tests.parity.conftest import BRIEF_SECONDS
from tests.parity.pool import Emulator, Pool, emulator, error_code

BOUND_SECONDS = 20


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    # Python 3.10 reads no fraction of another length.
    seconds, _, fraction = text[:-1].partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6].ljust(6, '0')}")


def listed(pool: Pool, **query: str) -> list[str]:
    reply = pool.request("GET", "/listSessions", query=query)
    assert reply.status_code == 200, reply.text
    return [row["identifier"] for row in reply.json()["sessions"]]


@pytest.mark.parity("SES-01", "HEAD-04")
def test_the_first_call_allocates_and_later_ones_find_the_session(pool: Pool, fresh: str) -> None:
    first, second = (pool.execute("1", fresh) for _ in range(2))
    assert (first.headers["x-ms-new-allocation"], second.headers["x-ms-new-allocation"]) == ("true", "false")
    assert first.headers["x-ms-session-guid"] == second.headers["x-ms-session-guid"] != ""


@pytest.mark.parity("SES-01")
def test_sessions_share_neither_variables_nor_files(pool: Pool, session: str, fresh: str) -> None:
    pool.result("mine = 1; open('/mnt/data/mine.txt', 'w').close()", session)
    code = "import os; 'mine' in globals(), os.path.exists('/mnt/data/mine.txt')"
    assert pool.result(code, fresh)["executionResult"] == [False, False]
    assert pool.result(code, session)["executionResult"] == [True, True]


@pytest.mark.parity("SES-02", "SES-05", "HEAD-03")
def test_a_session_can_be_looked_at(pool: Pool, session: str) -> None:
    guid = pool.execute("1", session).headers["x-ms-session-guid"]
    reply = pool.request("GET", "/session", session)
    found: dict[str, Any] = reply.json()
    assert (reply.status_code, found["identifier"], found["etag"]) == (200, session, guid)
    created, accessed, expires = (moment(found[name]) for name in ("createdAt", "lastAccessedAt", "expireAt"))
    assert created <= accessed < expires
    assert 299 <= (expires - accessed).total_seconds() <= 3601
    assert set(found) == {"identifier", "createdAt", "lastAccessedAt", "expireAt", "etag"}


@pytest.mark.parity("SES-03")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_session_is_not_found(pool: Pool, method: str) -> None:
    reply = pool.request(method, "/session", pool.new_identifier())
    assert (reply.status_code, error_code(reply)) == (404, "NoSessionFoundError")


@pytest.mark.parity("SES-04")
def test_a_deleted_session_starts_anew(pool: Pool, fresh: str) -> None:
    pool.result("kept = 1; open('/mnt/data/kept.txt', 'w').close()", fresh)
    reply = pool.request("DELETE", "/session", fresh)
    assert (reply.status_code, reply.content) == (204, b"")
    assert pool.request("GET", "/session", fresh).status_code == 404
    again = pool.execute("import os; 'kept' in globals(), os.listdir('/mnt/data')", fresh)
    assert again.headers["x-ms-new-allocation"] == "true"
    assert again.json()["result"]["executionResult"] == [False, []]


@pytest.mark.parity("SES-06")
@pytest.mark.parametrize(("method", "path"), [("GET", "/session"), ("GET", "/files"), ("POST", "/executions")])
def test_every_call_resets_the_cooldown(pool: Pool, session: str, method: str, path: str) -> None:
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "1"} if method == "POST" else None
    pool.request("GET", "/files", session)
    before = pool.request("GET", "/session", session).json()
    between = pool.request(method, path, session, json=body)
    assert between.status_code == 200
    rows = pool.request("GET", "/listSessions").json()["sessions"]
    after = next(row for row in rows if row["identifier"] == session)
    assert moment(after["lastAccessedAt"]) > moment(before["lastAccessedAt"])
    assert moment(after["expireAt"]) > moment(before["expireAt"])


@pytest.mark.parity("SES-07")
@pytest.mark.local_only("a real cooldown is five minutes at least")
def test_after_its_cooldown_a_session_and_all_in_it_are_gone(kinds: Emulator) -> None:
    pool = kinds.pool("brief")
    identifier = pool.new_identifier()
    began = time.monotonic()
    pool.result("kept = 1", identifier)
    while identifier in listed(pool):
        assert time.monotonic() - began < BOUND_SECONDS
    assert time.monotonic() - began > BRIEF_SECONDS
    assert pool.request("GET", "/session", identifier).status_code == 404
    assert pool.result("'kept' in globals()", identifier)["executionResult"] is False


@pytest.mark.parity("SES-08")
def test_sessions_are_listed(pool: Pool, session: str, fresh: str) -> None:
    pool.request("GET", "/files", fresh)
    reply = pool.request("GET", "/listSessions")
    rows = {row["identifier"]: row for row in reply.json()["sessions"]}
    assert {session, fresh} <= rows.keys()
    assert rows[fresh] == pool.request("GET", "/session", fresh).json() | {
        name: rows[fresh][name] for name in ("lastAccessedAt", "expireAt")
    }


@pytest.mark.parity("SES-09")
def test_the_list_can_be_begun_later(pool: Pool, session: str, fresh: str) -> None:
    pool.request("GET", "/files", fresh)
    everything = listed(pool)
    assert session in everything
    assert listed(pool, skip="1") == everything[1:]
    assert listed(pool, skip=str(len(everything))) == []
    assert pool.request("GET", "/listSessions", query={"skip": "1"}).json().get("nextLink") is None


@pytest.mark.parity("SES-09")
@pytest.mark.parametrize("skip", ["-1", "x", "1.5"])
def test_a_skip_that_is_no_number_is_invalid(pool: Pool, skip: str) -> None:
    assert pool.request("GET", "/listSessions", query={"skip": skip}).status_code == 400


@pytest.mark.parity("SES-10")
@pytest.mark.local_only("a real pool would have to be filled")
def test_a_full_pool_takes_no_new_session(kinds: Emulator) -> None:
    pool = kinds.pool("small")
    first, second = pool.new_identifier(), pool.new_identifier()
    pool.result("1", first)
    reply = pool.execute("1", second)
    assert (reply.status_code, reply.json()["code"]) == (429, "SessionsCountExceedsLimit")
    assert reply.json()["message"] == (
        "The request sessions count is '1'. There are already '1' active sessions and the maximum active sessions "
        "count is '1'."
    )
    assert pool.result("2", first)["executionResult"] == 2
    pool.delete_sessions([first])
    assert pool.result("3", second)["executionResult"] == 3


@pytest.mark.parity("SES-10")
@pytest.mark.local_only("an option of the emulator")
def test_a_full_pool_answers_404_where_that_is_asked_for() -> None:
    options = ("--max-sessions", "1", "--prewarmed", "0", "--full-status", "404", "--kind", "Shell")
    with emulator(*options) as running:
        pool = running.pool()
        for identifier, status in ((pool.new_identifier(), 200), (pool.new_identifier(), 404)):
            assert pool.request("GET", "/files", identifier).status_code == status


@pytest.mark.parity("SES-05")
@pytest.mark.local_only("settings of the emulator")
@pytest.mark.parametrize("options", [("--max-sessions", "601"), ("--cooldown-seconds", "3601")])
def test_a_pool_has_the_services_limits(options: tuple[str, str]) -> None:
    with pytest.raises(PartFailed, match="has to be"), emulator(*options):
        pass


@pytest.mark.parity("SES-11")
@pytest.mark.local_only("a real pool loses no session on request")
def test_a_lost_session_is_told_by_a_new_allocation(local: Emulator, pool: Pool, fresh: str) -> None:
    before = pool.execute("kept = 1", fresh)
    with local.fault(kind="session_loss", session=fresh, count=1):
        after = pool.execute("'kept' in globals()", fresh)
    assert after.headers["x-ms-new-allocation"] == "true"
    assert after.headers["x-ms-session-guid"] != before.headers["x-ms-session-guid"]
    assert after.json()["result"]["executionResult"] is False


@pytest.mark.parity("META-01")
def test_metadata_says_what_is_installed(pool: Pool) -> None:
    reply = pool.request("GET", "/metadata")
    found = reply.json()
    assert reply.status_code == 200
    assert [runtime["name"] for runtime in found["runtimes"]] == ["python"]
    assert all(set(package) == {"name", "version"} for package in found["preInstalledPackages"])
    assert moment(found["createdAt"]) <= moment(found["lastUpdatedAt"])
    assert set(found["jupyterKernel"]) == {"name", "version", "projectUrl", "description"}


@pytest.mark.parity("META-02")
def test_metadata_is_true(pool: Pool, session: str) -> None:
    found = pool.request("GET", "/metadata").json()
    packages = {package["name"].lower(): package["version"] for package in found["preInstalledPackages"]}
    code = "import platform, numpy, pandas; [platform.python_version(), numpy.__version__, pandas.__version__]"
    python, *versions = pool.result(code, session)["executionResult"]
    assert found["runtimes"][0]["version"] == python
    assert [packages["numpy"], packages["pandas"]] == versions


@pytest.mark.parity("META-03")
@pytest.mark.parametrize("package", ["numpy", "pandas", "matplotlib"])
def test_the_most_used_packages_are_there(pool: Pool, session: str, package: str) -> None:
    assert pool.result(f"import {package}; {package}.__name__", session)["executionResult"] == package


@pytest.mark.parity("META-04")
def test_packages_can_be_listed_as_the_documentation_once_did(pool: Pool, session: str) -> None:
    code = "\nimport pkg_resources\n[d.project_name for d in pkg_resources.working_set]\n"
    result = pool.result(code, session)
    assert {"numpy", "pandas"} <= {name.lower() for name in result["executionResult"]}
    assert result["stderr"] == ""


@pytest.mark.parity("HEAD-01")
def test_the_operation_id_is_the_executions(pool: Pool, session: str) -> None:
    reply = pool.execute("1", session)
    assert reply.headers["operation-id"] == reply.json()["id"]
    given = "3f5f7f0e-6d2c-4a0e-9a49-0c6f2a1c9b11"
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "1"}
    reply = pool.request("POST", "/executions", session, json=body, headers={"operation-id": given})
    assert (reply.headers["operation-id"], reply.json()["id"]) == (given, given)


@pytest.mark.parity("HEAD-02")
def test_the_operation_location_names_version_and_session(pool: Pool) -> None:
    identifier = pool.new_identifier()[:8] + "&a=#+%"
    reply = pool.execute("1", identifier)
    assert reply.headers["operation-location"] == (
        f"/executions/{reply.json()['id']}?api-version=2025-10-02-preview&identifier={identifier[:8]}%26a%3D%23%2B%25"
    )
    assert pool.request("DELETE", "/session", identifier).status_code == 204


@pytest.mark.parity("HEAD-05")
def test_timings_are_numbers(pool: Pool, session: str) -> None:
    headers = pool.execute("1", session).headers
    assert re.match(r"\d", headers["x-ms-container-execution-duration"])
    assert re.match(r"\d", headers["x-ms-overall-execution-time"])
    assert re.match(r"\d", headers["x-ms-allocation-time"])


@pytest.mark.parity("HEAD-07")
def test_files_tell_nothing_of_the_session(pool: Pool, session: str) -> None:
    headers = pool.request("GET", "/files", session).headers
    assert not [name for name in headers if name.lower().startswith("x-ms-")]

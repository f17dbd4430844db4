"""Where the pool is, who may call it, and how calls name a session and an API version."""

from __future__ import annotations

import re

import pytest

from tests.parity.pool import NEWEST, SCOPE, Emulator, Pool, body, emulator, error_code

SERVED = ("2024-02-02-preview", "2024-08-02-preview", "2024-10-02-preview", "2025-02-02-preview", NEWEST)
SIGNS = "id_|}{[]:\";'<>?/.,@#$%^&*()-+=!~`"


@pytest.mark.parity("END-01", "AUTH-01")
def test_operations_are_below_the_management_endpoint(pool: Pool, session: str) -> None:
    assert re.search(r"/subscriptions/[^/]+/resourceGroups/[^/]+/sessionPools/[^/]+$", pool.endpoint)
    assert pool.request("GET", "/files", session).status_code == 200


@pytest.mark.parity("END-02")
@pytest.mark.parametrize("path", ["//files", "/files/"])
def test_slashes_too_many_make_no_difference(pool: Pool, session: str, path: str) -> None:
    assert pool.request("GET", path, session).status_code == 200


@pytest.mark.parity("END-02")
def test_the_pool_is_found_whatever_the_case_of_its_path(pool: Pool, session: str) -> None:
    endpoint = pool.endpoint.replace("/sessionPools/", "/SESSIONPOOLS/")
    assert pool.request("GET", "/files", session, endpoint=endpoint).status_code == 200


@pytest.mark.parity("END-03")
@pytest.mark.local_only("needs an emulator of several pools")
def test_a_pool_that_does_not_exist_is_not_found(kinds: Emulator) -> None:
    pool = kinds.pool("small")
    reply = pool.request("GET", "/listSessions", endpoint=pool.endpoint.replace("small", "other"))
    assert (reply.status_code, error_code(reply)) == (404, "SessionPoolNotFound")


@pytest.mark.parity("END-04")
@pytest.mark.local_only("a real pool has no root of its own")
def test_the_first_pool_is_also_at_the_root(local: Emulator, pool: Pool, session: str) -> None:
    assert pool.request("GET", "/files", session, endpoint=local.url).json()["value"] == []


@pytest.mark.parity("END-05")
@pytest.mark.local_only("a real pool always speaks https")
def test_https_with_a_certificate_that_clients_can_trust(lenient: Emulator) -> None:
    pool = lenient.pool()
    assert pool.endpoint.startswith("https://")
    assert pool.request("GET", "/listSessions").json()["sessions"] == []


@pytest.mark.parity("AUTH-02")
@pytest.mark.parametrize("value", ["", "Bearer", "Bearer not-a-token", "Basic dXNlcjpwYXNz"])
def test_without_a_valid_token_there_is_an_empty_401(pool: Pool, value: str) -> None:
    reply = pool.request("GET", "/listSessions", headers={"Authorization": value})
    assert (reply.status_code, reply.content) == (401, b"")


@pytest.mark.parity("AUTH-03")
def test_a_token_for_another_service_is_refused(pool: Pool) -> None:
    assert pool.tokens
    token = pool.tokens("https://management.azure.com/.default")
    assert pool.request("GET", "/listSessions", headers={"Authorization": f"Bearer {token}"}).status_code == 401


@pytest.mark.parity("AUTH-04")
@pytest.mark.local_only("a real token lives for an hour")
def test_an_expired_token_is_refused() -> None:
    with emulator("--token-lifetime", "0", "--prewarmed", "0") as short:
        assert short.pool().request("GET", "/listSessions").status_code == 401


@pytest.mark.parity("AUTH-05")
@pytest.mark.local_only("the role of a real pool stays as it is")
def test_a_missing_role_is_forbidden(local: Emulator, pool: Pool, session: str) -> None:
    with local.fault(kind="status", status=403, session=session):
        assert pool.request("GET", "/files", session).status_code == 403
    assert pool.request("GET", "/files", session).status_code == 200


@pytest.mark.parity("AUTH-06")
@pytest.mark.local_only("not every tenant gives tokens for the older audience")
def test_the_older_audience_is_refused_unless_it_is_the_pools() -> None:
    old = "https://acasessions.io"
    with emulator("--audience", old, "--prewarmed", "0") as other:
        pool = other.pool()
        assert pool.request("GET", "/listSessions").status_code == 401
        assert pool.tokens
        token = pool.tokens(f"{old}/.default")
        assert pool.request("GET", "/listSessions", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert pool.tokens(SCOPE) != token


@pytest.mark.parity("ID-01")
def test_a_call_without_an_identifier_is_invalid(pool: Pool) -> None:
    reply = pool.request("GET", "/files")
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parity("ID-02", "SES-03")
@pytest.mark.parametrize("identifier", ["abcd", "A" * 128, "0f" * 16, SIGNS])
def test_identifiers_of_the_documented_form(pool: Pool, identifier: str) -> None:
    reply = pool.request("GET", "/session", identifier)
    assert (reply.status_code, error_code(reply)) == (404, "NoSessionFoundError")


@pytest.mark.parity("ID-03", "ERR-03")
@pytest.mark.parametrize("identifier", ["", "abc", "a" * 129, "with space", "höher", "line\nbreak", "back\\slash"])
def test_other_identifiers_are_invalid(pool: Pool, identifier: str) -> None:
    reply = pool.request("GET", "/session", identifier)
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")
    assert reply.json()["error"]["target"] == "identifier"


@pytest.mark.parity("ID-04")
def test_an_identifier_in_the_body_is_ignored(pool: Pool, session: str) -> None:
    other = pool.new_identifier()
    assert pool.run("1", session, identifier=other)["identifier"] == session
    assert pool.request("GET", "/session", other).status_code == 404


@pytest.mark.parity("VER-01")
@pytest.mark.local_only("older versions may be retired")
@pytest.mark.parametrize("version", SERVED)
def test_versions_that_are_served(pool: Pool, session: str, version: str) -> None:
    assert pool.request("GET", "/files", session, version=version).status_code == 200


@pytest.mark.parity("VER-02")
@pytest.mark.parametrize("version", ["2024-09-01", "2023-08-01-preview", "2999-01-01", ""])
def test_an_unknown_version_looks_like_a_bad_token(pool: Pool, session: str, version: str) -> None:
    reply = pool.request("GET", "/files", session, version=version)
    assert (reply.status_code, reply.content) == (401, b"")


@pytest.mark.parity("VER-02")
@pytest.mark.local_only("an option of the emulator")
def test_a_lenient_pool_takes_the_newest_for_an_unknown_version(lenient: Emulator) -> None:
    reply = lenient.pool().request("GET", "/listSessions", version="2999-01-01")
    assert reply.json()["sessions"] == []


@pytest.mark.parity("VER-03")
def test_a_missing_version_is_an_unknown_one(pool: Pool, session: str) -> None:
    reply = pool.request("GET", "/files", session, version=None)
    assert (reply.status_code, reply.content) == (401, b"")


@pytest.mark.parity("VER-04")
@pytest.mark.parametrize(("method", "path"), [("POST", "/code/execute"), ("POST", "/files/upload")])
def test_an_operation_of_another_version_is_not_supported(pool: Pool, session: str, method: str, path: str) -> None:
    reply = pool.request(method, path, session, json=body("1"))
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestNotSupported")


@pytest.mark.parity("VER-05")
@pytest.mark.local_only("older versions may be retired")
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/session"), ("DELETE", "/session"), ("GET", "/listSessions"), ("GET", "/metadata")]
)
def test_sessions_are_managed_since_2025_02(pool: Pool, session: str, method: str, path: str) -> None:
    older, newer = (pool.request(method, path, session, version=version) for version in SERVED[2:4])
    assert (older.status_code, error_code(older)) == (400, "SessionRequestNotSupported")
    assert newer.status_code < 300 or error_code(newer) == "NoSessionFoundError"


@pytest.mark.parity("VER-06")
@pytest.mark.local_only("older versions may be retired")
@pytest.mark.parametrize("version", SERVED[2:4])
def test_additions_of_2025_10_do_nothing_in_older_versions(pool: Pool, fresh: str, version: str) -> None:
    code = (
        "import os; os.makedirs('/mnt/data/inner'); open('/mnt/data/inner/x', 'w').close(); kept = 1; print('a' * 50)"
    )
    pool.run(code, fresh)
    listed = pool.request("GET", "/files", fresh, version=version, query={"recursive": "true"}).json()["value"]
    assert [item["name"] for item in listed] == ["inner"]
    assert "directory" not in listed[0]
    more = {"outputStreamsMaxLength": 5, "useEmptyKernel": True}
    result = pool.execute("print('a' * 50 * kept)", fresh, version=version, **more).json()["result"]
    assert len(result["stdout"]) == 51

"""Faults as a client meets them, over real connections."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from local.identity import Identity
from local.session_pool.auth import TokenCheck
from local.session_pool.faults import Faults, parse_rule
from tests.local.session_pool.pools import A, B, Client, Made, Use, asked, with_app, with_server

SHELL = Made(kind="Shell")
NO_SESSIONS = Made(sessions=False)
CONTENT = b"0123456789" * 1000
# A client's view of a connection that ends too early.
BROKEN_OFF = (httpx.RemoteProtocolError, httpx.ReadError)


def with_faults(use: Use, *rules: str, made: Made = SHELL) -> None:
    with_server(use, made, Faults([parse_rule(rule) for rule in rules]))


async def shell(call: Client, command: str) -> str:
    """What a command prints."""
    reply = await call("POST", "/executions", json={"shellCommand": command})
    assert reply.status_code == 200
    text: str = reply.json()["result"]["stdout"]
    return text


@pytest.mark.parametrize(("rule", "done"), [("drop,count=1", ""), ("drop,count=1,after=true", "done\n")])
def test_dropped_connection_before_or_after_the_work(rule: str, done: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def use(call: Client) -> None:
        with pytest.raises(BROKEN_OFF):
            await shell(call, "echo done > /mnt/data/log")
        assert await shell(call, "cat /mnt/data/log 2>/dev/null") == done

    with_faults(use, rule)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["drop", "drop,after=true", "cut_body", "broken_body", "slow_body,seconds=0.01"])
def test_spoiled_replies_to_every_operation_leave_nothing_open(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def use(call: Client) -> None:
        for method, path, more in (
            ("POST", "/executions", {"json": {"shellCommand": "echo"}}),
            ("POST", "/files", {"files": {"file": ("x.bin", CONTENT)}}),
            ("GET", "/files", {}),
            ("GET", "/files/x.bin", {}),
            ("GET", "/files/x.bin/content", {}),
            ("DELETE", "/files/x.bin", {}),
            ("GET", "/session", {}),
            ("GET", "/listSessions", {}),
            ("DELETE", "/session", {}),
        ):
            try:
                reply = await call(method, path, **more)
            except BROKEN_OFF:
                assert kind.startswith(("drop", "cut"))
            else:
                assert reply.status_code < 300 or kind == "drop"

    with_faults(use, kind)
    assert capfd.readouterr().err == ""


def test_body_that_is_cut() -> None:
    async def use(call: Client) -> None:
        await call.upload("x.bin", CONTENT)
        received = bytearray()

        async def download() -> None:
            async with call.http.stream("GET", f"{call.pool}/files/x.bin/content?{QUERY}") as reply:
                async for chunk in reply.aiter_bytes():
                    received.extend(chunk)

        with pytest.raises(BROKEN_OFF):
            await download()
        assert received == CONTENT[: len(CONTENT) // 2]
        with pytest.raises(BROKEN_OFF):
            await call("GET", "/listSessions")

    with_faults(use, "cut_body,operation=download", "cut_body,operation=list_sessions")


QUERY = f"api-version=2025-10-02-preview&identifier={A}"


def test_body_that_is_no_json() -> None:
    async def use(call: Client) -> None:
        reply = await call("POST", "/executions", json={"shellCommand": "echo done > /mnt/data/log"})
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
        with pytest.raises(ValueError, match="Expecting"):
            reply.json()
        assert await shell(call, "cat /mnt/data/log") == "done\n"

    with_faults(use, "broken_body,count=1")


@pytest.mark.parametrize("rule", ["slow_body,seconds=0.2,count=1", "latency,seconds=0.2,count=1"])
def test_reply_that_is_late_or_slow_is_whole(rule: str) -> None:
    async def timed(call: Client) -> float:
        began = time.monotonic()
        reply = await call("GET", "/listSessions")
        assert reply.json() == {"sessions": [], "nextLink": None}
        return time.monotonic() - began

    async def use(call: Client) -> None:
        # asyncio's clock may be a millisecond ahead of ours.
        assert await timed(call) > 0.19
        await timed(call)

    with_faults(use, rule, made=NO_SESSIONS)


def test_slow_body_starts_at_once_and_comes_in_pieces() -> None:
    async def use(call: Client) -> None:
        async with call.http.stream("GET", f"{call.pool}/metadata?{QUERY}") as reply:
            assert reply.status_code == 200
            pieces = [piece async for piece in reply.aiter_raw()]
        assert len(pieces) > 2

    with_faults(use, "slow_body,seconds=0.2")


def test_late_reply_does_not_delay_others() -> None:
    async def use(call: Client) -> None:
        late = asyncio.create_task(call("GET", "/session"))
        for _ in range(20):
            assert (await call("GET", "/listSessions")).status_code == 200
        assert not late.done()
        late.cancel()

    with_faults(use, "latency,seconds=60,operation=get_session", made=NO_SESSIONS)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, None),
        (403, "Forbidden"),
        (404, "NotFound"),
        (429, "SessionsCountExceedsLimit"),
        (500, "InternalServerError"),
        (503, "InternalServerError"),
    ],
)
def test_status_in_the_services_form(status: int, code: str | None) -> None:
    async def use(call: Client) -> None:
        first = await call("POST", "/executions", json={"shellCommand": "echo done > /mnt/data/log"})
        assert (first.status_code, first.headers["retry-after"]) == (status, "3")
        assert first.headers.get("x-ms-error-code") == code
        if code is None:
            assert first.content == b""
        else:
            body = first.json()
            # The service wraps all but a full pool's.
            assert (body if status == 429 else body["error"])["code"] == code
        # It was not carried out.
        assert await shell(call, "cat /mnt/data/log 2>/dev/null") == ""

    with_faults(use, f"status={status},retry_after=3,count=1")


def test_rule_for_one_session_and_operation() -> None:
    async def use(call: Client) -> None:
        assert (await call("GET", "/files")).status_code == 503
        assert (await call("GET", "/files", query={"identifier": B})).status_code == 200
        assert (await call("GET", "/session")).status_code == 404

    with_faults(use, f"status=503,session={A},operation=list_files")


def test_lost_session_starts_anew() -> None:
    async def use(call: Client) -> None:
        first = await call("POST", "/executions", json=asked("x = 1"))
        again = await call("POST", "/executions", json=asked("x"))
        assert (again.json()["status"], again.headers["x-ms-new-allocation"]) == ("Failed", "true")
        assert again.headers["x-ms-session-guid"] != first.headers["x-ms-session-guid"]
        # Without a session there is nothing to lose.
        await call.http.post(call.pool.partition("/sub")[0] + "/.local/faults", json={"kind": "session_loss"})
        assert (await call("GET", "/session", query={"identifier": B})).status_code == 404
        assert (await call("GET", "/listSessions")).status_code == 200

    async def after_first(call: Client) -> None:
        await call("POST", "/executions", json=asked("1"))
        await use(call)

    # The rule meets the third execution: two others come before it.
    with_server(
        after_first,
        Made(),
        Faults([parse_rule("latency,seconds=0,count=2"), parse_rule("session_loss,count=1")]),
    )


@pytest.mark.parametrize(("life", "status"), [(50, 401), (500, 200)])
def test_tokens_live_shorter(life: int, status: int) -> None:
    identity = Identity("example-header", clock=lambda: time.time() - 100)
    token, _ = identity.token("https://dynamicsessions.io")

    async def keys() -> dict[str, object]:
        return identity.key_set()

    async def use(call: Client) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        assert (await call("GET", "/listSessions", headers=headers)).status_code == status

    made = Made(sessions=False, tokens=TokenCheck(keys, "https://dynamicsessions.io"))
    with_faults(use, f"token_life,seconds={life}", made=made)


def test_fault_comes_after_the_token_and_the_form() -> None:
    async def nobody() -> dict[str, object]:
        return {"keys": []}

    async def use(call: Client) -> None:
        assert (await call("GET", "/listSessions")).status_code == 401

    with_faults(use, "status=503", made=Made(sessions=False, tokens=TokenCheck(nobody, "https://dynamicsessions.io")))

    async def malformed(call: Client) -> None:
        assert (await call("POST", "/executions", content=b"{")).status_code == 400
        assert (await call("POST", "/executions", json=asked("1"))).status_code == 503

    with_faults(malformed, "status=503", made=NO_SESSIONS)


def test_server_that_cannot_drop_says_so() -> None:
    async def use(call: Client) -> None:
        await call.http.post("http://pool/.local/faults", json={"kind": "drop"})
        with pytest.raises(ConnectionAbortedError, match="cannot drop"):
            await call("GET", "/listSessions")

    with_app(use, NO_SESSIONS)


def test_client_that_leaves_in_the_middle(capfd: pytest.CaptureFixture[str]) -> None:
    async def use(call: Client) -> None:
        assert await shell(call, "head -c 50000000 /dev/zero > /mnt/data/zeros") == ""
        async with call.http.stream("GET", f"{call.pool}/files/zeros/content?{QUERY}") as reply:
            assert reply.status_code == 200
            await anext(reply.aiter_raw())
        address = httpx.URL(call.pool)
        for head in (
            f"POST {address.path}/files?{QUERY} HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b",
            f"POST {address.path}/executions?{QUERY} HTTP/1.1",
        ):
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"{head}\r\nHost: pool\r\nContent-Length: 1000\r\n\r\n--b\r\n".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        # What was begun goes on without its caller, and the next call waits for it.
        command = "touch /mnt/data/begun; until [ -e /mnt/data/go ]; do :; done; echo went on > /mnt/data/log"
        leaving = asyncio.create_task(call("POST", "/executions", json={"shellCommand": command}))
        while (await call("GET", "/files/begun")).status_code != 200:
            pass
        leaving.cancel()
        await asyncio.wait([leaving])
        await call.upload("go", b"")
        assert await shell(call, "cat /mnt/data/log") == "went on\n"

    with_faults(use)
    assert capfd.readouterr().err == ""

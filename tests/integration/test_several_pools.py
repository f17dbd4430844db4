"""Several session pools behind one app: who goes where, and what one pool's end means to the others' sessions."""

from __future__ import annotations

from local.stack import Stack
from shared.session import session_identifier
from shared.session_pools import place_of
from tests.integration.conftest import Caller, StackFactory

POOLS = ("session_pool", "session_pool_2")


def kept(name: str) -> str:
    """A message whose code leaves something in the session."""
    return f"Run this:\n```python\nkept = {name!r}\n```"


SHOW = "Run this:\n```python\nprint('kept:', globals().get('kept'))\n```"


class Conversations:
    """Conversations with one app, and which of its pools has each."""

    def __init__(self, stack: Stack) -> None:
        self.ask = Caller(stack.url)
        self._endpoints = {str(stack.ready(name)["env"]["POOL_MANAGEMENT_ENDPOINT"]): name for name in POOLS}

    def pool_of(self, session_id: str) -> str:
        return self._endpoints[place_of(session_identifier("", session_id), self._endpoints)]

    def begin(self, pool: str) -> str:
        """The session_id of a new conversation that happens to be in a pool; it keeps its own name."""
        for number in range(60):
            reply = self.ask(kept(f"{pool} {number}"))
            if self.pool_of(reply["session_id"]) == pool:
                self.ask(kept(pool), session_id=reply["session_id"])
                return str(reply["session_id"])
        raise AssertionError(f"none of 60 sessions is in {pool}")

    def shows(self, session_id: str) -> str:
        """What is kept in a session, as its code prints it."""
        return str(self.ask(SHOW, session_id=session_id)["result"])


def test_a_stopped_pool_takes_only_its_own_sessions_with_it(stack_of: StackFactory) -> None:
    with stack_of(pools=2) as stack:
        talk = Conversations(stack)
        staying, stopped = talk.begin("session_pool"), talk.begin("session_pool_2")
        stack.stop_part("session_pool_2")

        refused = talk.ask.post({"message": SHOW, "session_id": stopped})
        assert (refused.status_code, refused.json()["code"]) == (502, "pool_unreachable")
        assert "POOL_MANAGEMENT_ENDPOINT" in refused.json()["remedy"]
        assert "127.0.0.1" not in refused.text

        assert "kept: session_pool\n" in talk.shows(staying) + "\n"
        begun = [talk.ask(kept("new"))["session_id"] for _ in range(6)]
        assert {talk.pool_of(session_id) for session_id in begun} == {"session_pool"}
        assert all("kept: new" in talk.shows(session_id) for session_id in begun)

        # Back under its address, it has its sessions again, and the model is told that they are new.
        stack.start_part("session_pool_2")
        again = talk.ask(SHOW, session_id=stopped)
        assert "kept: None" in again["result"]
        assert "this session is new" in again["steps"][1]["content"]
        assert "kept: session_pool\n" in talk.shows(staying) + "\n"


def test_new_conversations_fill_one_pool_after_the_other_files_included(stack_of: StackFactory) -> None:
    read = "Run this:\n```python\nkept = open('/mnt/data/a.txt').read()\nprint('read:', kept)\n```"
    with stack_of(pools=2, pool_args=["--max-sessions", "1"]) as stack:
        talk = Conversations(stack)
        begun = [talk.ask(read, files=[{"name": "a.txt", "content": content}]) for content in ("NDE=", "NDI=")]
        assert [("read: 41" in begun[0]["result"]), ("read: 42" in begun[1]["result"])] == [True, True]
        assert {talk.pool_of(reply["session_id"]) for reply in begun} == set(POOLS)
        full = talk.ask.post({"message": SHOW})
        assert (full.status_code, full.json()["code"]) == (503, "pool_full")
        shown = [talk.shows(reply["session_id"]) for reply in begun]
        assert [("kept: 41" in shown[0]), ("kept: 42" in shown[1])] == [True, True]


def test_a_setting_that_names_a_pool_twice_is_refused_without_its_value(stack_of: StackFactory) -> None:
    twice = "https://pool.example/a,https://pool.example/a/"
    with stack_of(host_env={"POOL_MANAGEMENT_ENDPOINT": twice}) as stack:
        response = Caller(stack.url).post({"message": "Compute"})
    assert (response.status_code, response.json()["code"]) == (500, "setting_invalid")
    assert "POOL_MANAGEMENT_ENDPOINT" in response.json()["detail"]
    assert "pool.example" not in response.text

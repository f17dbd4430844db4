"""Runs carried out from a real store, with every way in which a delivery can be cut off.

The store is the app's own on Azurite, the model is the stand-in, and the pool is scripted and tells what it ran.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from azure.storage.blob import BlobLeaseClient, ContainerClient
from azure.storage.queue import QueueClient

from local import azurite
from local.azurite.running import running_azurite
from shared import run_names
from shared.errors import StorageUnreachable
from shared.run_lease import Lease
from shared.run_store import RunStore
from shared.run_worker import carry_out
from shared.runs import Callback, Run, owner_of
from shared.settings import Settings
from shared.storage import CONTAINER, Storage
from tests.identities import local_identity
from tests.interruptions import Killed, Life, MortalStorage, mortal
from tests.remembering_pool import CountingModel, RememberingPool, model_and_pool
from tests.scripted_pool import Script, described, listing
from tests.scripted_server import Answer

CODE = "```python\nprint(42)\n```"
END = "It is 42.\n\nTERMINATE"
SCRIPT = [CODE, END]
URL = "https://a.logic.azure.com/?sig=secret"
# More than the time of the chat: nobody waits for such an answer.
BUSY = Answer(503, b"", {"Retry-After": "86400"})


@pytest.fixture(scope="module")
def connection() -> Iterator[str]:
    reason = azurite.missing()
    if reason:
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with running_azurite() as settings, local_identity():
        yield settings["AzureWebJobsStorage"]


class WatchedStore(RunStore):
    """Remembers its leases."""

    leases: list[Lease]

    def lease(self, run_id: str) -> Lease:
        self.leases = [*getattr(self, "leases", []), super().lease(run_id)]
        return self.leases[-1]


@dataclass
class Scene:
    """A model, a pool and a store, and a queue of its own.

    Attributes:
        settings: that lead to them.
        delivered: what was called back, with the run as it stood.
    """

    settings: Settings
    model: CountingModel
    pool: RememberingPool
    delivered: list[tuple[Run, dict[str, Any]]] = field(default_factory=list)
    answers: list[Callback] = field(default_factory=list)

    def store(self, life: Life | None = None) -> WatchedStore:
        storage = Storage.from_settings(self.settings)
        return WatchedStore(MortalStorage(storage, life) if life else storage)  # type: ignore[arg-type]  # as good as one

    def add(self, files: dict[str, bytes] | None = None, **values: Any) -> str:
        now = time.time()
        run_id = uuid.uuid4().hex
        own: dict[str, Any] = {
            "run_id": run_id,
            "owner": owner_of(""),
            "caller": "",
            "created_at": now,
            "expires_at": now + 60,
            "message": "Compute",
            "session_id": f"session-{run_id}",
            "max_turns": 10,
            "token_hash": "",
            "files": tuple(files or ()),
        }
        run, _ = self.store().create(Run(**{**own, **values}), files or {}, None)
        return run.run_id

    def deliver(self, run: Run, reply: bytes, settings: Settings) -> Callback:
        self.delivered.append((run, json.loads(reply)))
        assert run.callback is not None
        return replace(run.callback, state="delivered", attempts=run.callback.attempts + 1, last_status=200)

    def carry_out(self, run_id: str, life: Life | None = None) -> Run:
        """One delivery of the message; with a life that may end in the middle of it."""
        life = life or Life()
        with mortal(life):
            carry_out(
                run_id,
                self.store(life),
                self.settings,
                deliver=lambda *a: life.live("callback", lambda: self.deliver(*a)),
            )
        return self.run(run_id)

    def run(self, run_id: str) -> Run:
        stored = self.store().load(run_id)
        assert stored is not None
        return stored.run

    def reply(self, run_id: str) -> dict[str, Any]:
        reply = self.store().reply(run_id)
        assert reply is not None
        return dict(json.loads(reply))

    def end_lease(self, run_id: str) -> None:
        """What a minute without its holder does."""
        container = ContainerClient.from_connection_string(self.settings.storage_connection, CONTAINER)
        with container, suppress(Exception):
            BlobLeaseClient(container.get_blob_client(run_names.lease(run_id))).break_lease(0)

    def queued(self) -> list[str]:
        """The messages that nobody gets yet, and those that somebody would."""
        queue = QueueClient.from_connection_string(self.settings.storage_connection, self.settings.run_queue_name)
        with queue:
            hidden = queue.get_queue_properties().approximate_message_count or 0
            return ["later"] * (hidden - len(queue.peek_messages(32))) + ["now"] * len(queue.peek_messages(32))


SceneFactory = Callable[..., Any]


@pytest.fixture
def scene_of(connection: str) -> SceneFactory:
    @contextmanager
    def make(
        script: list[str] | None = None, pool: RememberingPool | None = None, **answers: Script
    ) -> Iterator[Scene]:
        model, own_pool = CountingModel(script or SCRIPT), pool or RememberingPool()
        options: dict[str, object] = {"storage_connection": connection, "run_queue_name": f"runs-{uuid.uuid4().hex}"}
        with model_and_pool(model, own_pool, options=options, **answers) as settings:
            yield Scene(settings, model, own_pool)

    return make


def undisturbed(scene: Scene, **values: Any) -> tuple[Run, dict[str, Any], Life]:
    """A run to compare with, and the calls that it took."""
    life = Life()
    run_id = scene.add(**values)
    run = scene.carry_out(run_id, life)
    return run, scene.reply(run_id), life


def comparable(run: Run, reply: dict[str, Any]) -> tuple[Any, ...]:
    """What has to come out whatever happened in between."""
    callback = replace(run.callback, attempts=0) if run.callback else None
    same = {name: value for name, value in reply.items() if name not in ("session_id", "cost")}
    return run.status, run.steps, run.usage, run.problem, run.pending, callback, same


def test_a_run_is_carried_out(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run, reply, _ = undisturbed(scene)
    assert (run.status, run.attempts, run.pending, len(run.steps)) == ("completed", 1, "", 3)
    assert (reply["status"], reply["result"], reply["session_id"]) == ("completed", "It is 42.", run.session_id)
    assert [row["content"] for row in reply["steps"]] == [step.content for step in run.steps]
    assert run.usage.total_tokens == reply["usage"]["total_tokens"] > 0
    assert (scene.model.calls, scene.pool.executed, scene.delivered) == (2, ["print(42)"], [])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [Killed, StorageUnreachable])
def test_a_delivery_cut_off_at_any_call_leaves_a_run_that_the_next_one_ends(
    after: bool, error: type[BaseException], scene_of: SceneFactory
) -> None:
    values: dict[str, Any] = {"files": {"a.csv": b"1,2"}, "callback": Callback(URL)}
    with scene_of(
        GET_files=listing(described("a.csv", 3), described("made.csv")), GET_content=Answer(body=b"1")
    ) as scene:
        run, reply, life = undisturbed(scene, **values)
        assert {"model", "pool POST", "callback", "replace", "put", "acquire", "release"} <= set(life.calls)
        for number in range(1, len(life.calls) + 1):
            if error is Killed or life.calls[number - 1] in _STORAGE:
                cut_off_once(scene, number, after, error, values, comparable(run, reply))


_STORAGE = {"read", "create", "replace", "put", "acquire", "release"}


def cut_off_once(
    scene: Scene, number: int, after: bool, error: type[BaseException], values: dict[str, Any], expected: Any
) -> None:
    scene.pool.lose_session()
    scene.pool.executed.clear()
    scene.model.calls = 0
    scene.delivered.clear()
    run_id = scene.add(**values)
    life = Life(number, after=after, error=error)
    with suppress(error):
        scene.carry_out(run_id, life)
    scene.end_lease(run_id)
    run = scene.carry_out(run_id)
    where = f"call {number} ({life.last}), {'after' if after else 'before'}"
    assert comparable(run, scene.reply(run_id)) == expected, where
    # What a model has answered counts once it is written down.
    before = life.calls[number - 2] if number > 1 else ""
    lost = life.last == "model" if after else life.last == "replace" and before == "model"
    assert scene.model.calls == len(SCRIPT) + lost, where
    assert scene.pool.executed == ["print(42)"], where
    # Called back again only where nobody wrote down that it was.
    again = life.last == "callback" if after else life.last == "replace" and before == "callback"
    assert len(scene.delivered) == 1 + again, where
    assert all(body == scene.delivered[0][1] for _, body in scene.delivered), where

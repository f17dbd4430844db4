"""A run carried out: a real store on Azurite, the stand-in's model, and a scripted pool that tells what it ran."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient, ContainerClient
from azure.storage.queue import QueueClient

from shared import run_names
from shared.run_lease import Lease
from shared.run_store import RunStore
from shared.run_worker import carry_out
from shared.runs import Callback, Run, owner_of
from shared.settings import Settings
from shared.storage import CONTAINER, Storage
from tests.interruptions import Life, MortalStorage, mortal
from tests.remembering_pool import CountingModel, RememberingPool, model_and_pool
from tests.scripted_pool import Script
from tests.scripted_server import Answer

CODE = "```python\nprint(42)\n```"
END = "It is 42.\n\nTERMINATE"
SCRIPT = [CODE, END]
URL = "https://a.logic.azure.com/?sig=secret"
# More than the time of the chat: nobody waits for such an answer.
BUSY = Answer(503, b"", {"Retry-After": "86400"})


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
        storage: the account's.
        delivered: what was called back, with the run as it stood.
    """

    settings: Settings
    storage: Storage
    model: CountingModel
    pool: RememberingPool
    delivered: list[tuple[Run, dict[str, Any]]] = field(default_factory=list)
    answers: list[Callback] = field(default_factory=list)

    def store(self, life: Life | None = None) -> WatchedStore:
        return WatchedStore(MortalStorage(self.storage, life) if life else self.storage)  # type: ignore[arg-type]  # as good as one

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

    def forget(self) -> None:
        """Has the model and the pool as they were in the beginning."""
        self.pool.lose_session()
        self.pool.executed.clear()
        self.model.calls = 0
        self.delivered.clear()

    def end_lease(self, run_id: str) -> None:
        """What a minute without its holder does."""
        container = ContainerClient.from_connection_string(self.settings.storage_connection, CONTAINER)
        with container, suppress(Exception):
            BlobLeaseClient(container.get_blob_client(run_names.lease(run_id))).break_lease(0)

    def queued(self) -> list[str]:
        """The messages that nobody gets yet, and those that somebody would."""
        queue = QueueClient.from_connection_string(self.settings.storage_connection, self.settings.run_queue_name)
        # It is made with its first message.
        with queue, suppress(ResourceNotFoundError):
            count = queue.get_queue_properties().approximate_message_count or 0
            now = len(queue.peek_messages(32))
            return ["later"] * (count - now) + ["now"] * now
        return []


SceneFactory = Callable[..., Any]


def scenes(connection: str) -> SceneFactory:
    """Makes scenes in a storage account, each with a queue of its own."""

    @contextmanager
    def make(
        script: list[str] | None = None, pool: RememberingPool | None = None, **answers: Script
    ) -> Iterator[Scene]:
        model, own_pool = CountingModel(script or SCRIPT), pool or RememberingPool()
        options: dict[str, object] = {"storage_connection": connection, "run_queue_name": f"runs-{uuid.uuid4().hex}"}
        with (
            model_and_pool(model, own_pool, options=options, **answers) as settings,
            closing(Storage.from_settings(settings)) as storage,
        ):
            yield Scene(settings, storage, model, own_pool)

    return make

"""Runs carried out from a real store, with every way in which a delivery can be cut off.

The store is the app's own on Azurite, the model is the stand-in, and the pool is scripted and tells what it ran.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient, ContainerClient
from azure.storage.queue import QueueClient

from local import azurite
from local.azurite.running import running_azurite
from shared import errors, run_names
from shared.errors import StorageUnreachable
from shared.run_lease import Lease
from shared.run_store import RunStore
from shared.run_worker import carry_out, fail_poisoned
from shared.runs import Callback, Run, owner_of
from shared.session import session_identifier
from shared.session_pools import endpoints_of, place_of
from shared.settings import Settings
from shared.storage import CONTAINER, Storage
from tests.identities import local_identity
from tests.interruptions import Killed, Life, MortalStorage, mortal
from tests.remembering_pool import CountingModel, RememberingPool, model_and_pool
from tests.scripted_pool import Script, described, identifiers, listing
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
    scene.forget()
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


@pytest.mark.parametrize("new", [True, False])
def test_only_a_session_of_an_earlier_conversation_can_be_missed(new: bool, scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run = scene.carry_out(scene.add(session_is_new=new))
    assert ("this session is new" in run.steps[1].content) is not new
    assert ("GET session" in scene.pool.asked()) is not new


@pytest.mark.parametrize("run_id", ["0" * 32, "", "../x"])
def test_a_message_without_a_run_is_done_with(run_id: str, scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        carry_out(run_id, scene.store(), scene.settings)
        fail_poisoned(run_id, scene.store(), scene.settings)
        assert scene.queued() == []
    assert (scene.model.calls, scene.pool.asked()) == (0, [])


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_run_that_has_ended_stays_as_it_is(status: str, scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status=status)
        before = scene.run(run_id)
        assert scene.carry_out(run_id) == before
        fail_poisoned(run_id, scene.store(), scene.settings)
        assert scene.run(run_id) == before
    assert scene.model.calls == 0


def test_a_run_that_another_has_is_looked_at_again_later(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        before = scene.run(run_id)
        with scene.store().lease(run_id):
            assert scene.carry_out(run_id) == before
            assert scene.queued() == ["later"]
    assert scene.model.calls == 0


def test_a_run_is_cancelled_at_its_next_step_and_its_session_freed(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool) as scene:
        run_id = scene.add(callback=Callback(URL))
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        run = scene.carry_out(run_id)
        reply = scene.reply(run_id)
    assert (run.status, reply["status"], len(run.steps), len(reply["steps"])) == ("cancelled", "cancelled", 2, 2)
    assert (scene.model.calls, pool.executed) == (1, ["print(42)"])
    assert pool.asked()[-1] == "DELETE session"
    assert not pool.there
    assert [body["status"] for _, body in scene.delivered] == ["cancelled"]


def test_a_session_is_freed_by_the_next_delivery_where_the_cancelled_run_was_cut_off(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool) as scene:
        run_id = scene.add()
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        with suppress(Killed):
            scene.carry_out(run_id, Life(2, of="put", after=True))
        assert scene.reply(run_id)["status"] == "cancelled"
        assert (scene.run(run_id).status, pool.there) == ("running", True)
        scene.end_lease(run_id)
        assert scene.carry_out(run_id).status == "cancelled"
    assert not pool.there
    assert pool.executed == ["print(42)"]


def test_a_run_that_is_cancelled_before_it_starts_touches_nothing(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(cancel_requested=True, callback=Callback(URL))
        run = scene.carry_out(run_id)
    assert (run.status, run.steps) == ("cancelled", ())
    assert (scene.model.calls, scene.pool.asked()) == (0, [])
    ((_, body),) = scene.delivered
    assert (body["run_id"], body["status"], body["result"], body["steps"]) == (run_id, "cancelled", "", [])


def test_a_run_that_is_cancelled_while_it_lies_cut_off_runs_nothing_more(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        with suppress(Killed):
            scene.carry_out(run_id, Life(1, of="pool POST"))
        scene.end_lease(run_id)
        scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        run = scene.carry_out(run_id)
    assert (run.status, len(run.steps)) == ("cancelled", 1)
    assert scene.pool.executed == []
    assert scene.pool.asked()[-1] == "DELETE session"


def test_a_session_that_cannot_be_freed_keeps_no_run_from_its_end(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool, DELETE_session=Answer(403, b"")) as scene:
        run_id = scene.add()
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        assert scene.carry_out(run_id).status == "cancelled"


def test_a_run_that_waited_past_its_deadline_ends_by_it(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(expires_at=time.time() - 1)
        run = scene.carry_out(run_id)
        assert scene.reply(run_id)["status"] == "deadline"
    assert (run.status, run.steps) == ("deadline", ())
    assert (scene.model.calls, scene.pool.asked()) == (0, [])


def test_a_run_cut_off_past_its_deadline_keeps_its_steps(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        with suppress(Killed):
            scene.carry_out(run_id, Life(1, of="pool POST", after=True))
        scene.end_lease(run_id)
        scene.store().change(run_id, lambda run: replace(run, expires_at=time.time() - 1))
        run = scene.carry_out(run_id)
        reply = scene.reply(run_id)
    assert (run.status, len(run.steps), len(reply["chat_history"])) == ("deadline", 1, 2)
    assert run.usage.total_tokens > 0
    assert scene.model.calls == 1


def test_a_run_ends_with_its_budget(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run = scene.carry_out(scene.add(token_budget=1))
    assert (run.status, len(run.steps), scene.model.calls) == ("budget", 2, 1)


def test_a_budget_counts_what_earlier_attempts_have_used(scene_of: SceneFactory) -> None:
    with scene_of([CODE, CODE, END]) as scene:
        two_calls = scene.carry_out(scene.add(max_turns=2)).usage.total_tokens
        scene.forget()
        run_id = scene.add(token_budget=two_calls)
        with suppress(Killed):
            # At the second execution.
            scene.carry_out(run_id, Life(2, of="pool POST"))
        scene.end_lease(run_id)
        run = scene.carry_out(run_id)
    assert (run.status, run.attempts, run.usage.total_tokens) == ("budget", 2, two_calls)
    assert scene.model.calls == 2


def test_a_run_works_in_its_callers_session(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        scene.carry_out(scene.add(caller="aad:1", owner=owner_of("aad:1"), session_id="s"))
    assert set(identifiers(scene.pool.server)) == {session_identifier("aad:1", "s")}


def test_a_refusal_is_the_runs_problem(scene_of: SceneFactory) -> None:
    with scene_of(POST_executions=Answer(403, b"")) as scene:
        run_id = scene.add(callback=Callback(URL))
        run = scene.carry_out(run_id)
        assert scene.store().reply(run_id) is None
    assert (run.status, run.pending, len(run.steps)) == ("failed", "", 1)
    assert run.problem is not None
    assert (run.problem["code"], run.problem["status"]) == ("pool_forbidden", 502)
    ((_, body),) = scene.delivered
    assert (body["status"], body["problem"]["code"], len(body["steps"])) == ("failed", "pool_forbidden", 1)


def test_a_service_that_is_busy_is_tried_in_later_deliveries_and_then_given_up(scene_of: SceneFactory) -> None:
    with scene_of(POST_executions=BUSY) as scene:
        run_id = scene.add()
        for attempt in range(1, 5):
            with pytest.raises(errors.PoolUnavailable):
                scene.carry_out(run_id)
            assert (scene.run(run_id).status, scene.run(run_id).attempts) == ("running", attempt)
        run = scene.carry_out(run_id)
    assert (run.status, run.attempts, (run.problem or {})["code"]) == ("failed", 5, "pool_unavailable")
    assert scene.model.calls == 1


@pytest.mark.parametrize("setting", ["pool_management_endpoint", "openai_base_url"])
def test_a_service_that_is_away_is_tried_in_later_deliveries(setting: str, scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        there = scene.settings
        # Port 9 is for discarding, and nobody does.
        scene.settings = replace(there, **{setting: "http://127.0.0.1:9"})
        with pytest.raises((errors.PoolUnreachable, errors.ModelUnreachable)):
            scene.carry_out(run_id)
        assert scene.run(run_id).status == "running"
        scene.settings = there
        run = scene.carry_out(run_id)
    assert (run.status, run.attempts, scene.pool.executed) == ("completed", 2, ["print(42)"])


def test_a_run_waits_for_the_pool_that_its_session_id_leads_to(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        away = "http://127.0.0.1:9"
        setting = f"{away},{scene.settings.pool_management_endpoint}"
        ids = (f"session-{number}" for number in range(1000))
        session_id = next(one for one in ids if place_of(session_identifier("", one), endpoints_of(setting)) == away)
        scene.settings = replace(scene.settings, pool_management_endpoint=setting)
        # It was told when the run was posted, so that it stays although it is new.
        run_id = scene.add(session_id=session_id, session_is_new=True)
        with pytest.raises(errors.PoolUnreachable):
            scene.carry_out(run_id)
        assert (scene.run(run_id).status, scene.run(run_id).session_id) == ("running", session_id)
    assert scene.pool.asked() == []


def test_a_run_that_was_begun_five_times_in_vain_is_not_begun_again(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run = scene.carry_out(scene.add(attempts=5, status="running"))
    assert (run.status, (run.problem or {})["code"]) == ("failed", "run_given_up")
    assert scene.model.calls == 0


def test_what_kept_a_run_from_the_queue_is_no_problem_of_a_run_that_goes_on(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run = scene.carry_out(scene.add(problem={"code": "run_not_queued"}))
    assert (run.status, run.problem) == ("completed", None)


def test_a_lost_lease_stops_the_work_without_a_trace(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool) as scene:
        run_id = scene.add()
        store = scene.store()
        before: list[Run] = []

        def lose() -> None:
            before.append(scene.run(run_id))
            store.leases[0].lost.set()

        pool.during = lose
        carry_out(run_id, store, scene.settings)
        assert [scene.run(run_id)] == before
        assert (before[0].status, len(before[0].steps)) == ("running", 1)
        assert scene.store().reply(run_id) is None
        # Whoever has the lease now may never end the run.
        assert scene.queued() == ["later"]
    assert scene.model.calls == 1


def test_a_delivery_that_another_has_overtaken_stops(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool) as scene:
        run_id = scene.add()
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, attempts=run.attempts + 1))
        run = scene.carry_out(run_id)
        assert scene.queued() == ["later"]
    assert (run.status, run.attempts, len(run.steps)) == ("running", 2, 1)


def test_a_callback_that_another_delivery_has_made_is_not_made_again(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="completed", callback=Callback(URL))

        class LateStore(WatchedStore):
            def lease(self, name: str) -> Lease:
                # Between the first look and the lease.
                self.change(name, lambda run: replace(run, callback=Callback(URL, "delivered", 1, 200)))
                return super().lease(name)

        store = LateStore(Storage.from_settings(scene.settings))
        carry_out(run_id, store, scene.settings, deliver=scene.deliver)
    assert scene.delivered == []


def test_a_poisoned_run_fails_with_the_reason(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="running", attempts=3, callback=Callback(URL))
        fail_poisoned(run_id, scene.store(), scene.settings, deliver=scene.deliver)
        run = scene.run(run_id)
    assert (run.status, (run.problem or {})["code"]) == ("failed", "run_given_up")
    assert run.callback == Callback(URL, "delivered", 1, 200)
    assert [body["problem"]["code"] for _, body in scene.delivered] == ["run_given_up"]


def test_a_poisoned_run_that_has_its_reply_ends_by_it(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        with suppress(Killed):
            scene.carry_out(run_id, Life(2, of="put", after=True))
        scene.end_lease(run_id)
        assert scene.run(run_id).status == "running"
        fail_poisoned(run_id, scene.store(), scene.settings)
        run = scene.run(run_id)
    assert (run.status, run.problem, len(run.steps)) == ("completed", None, 3)
    assert scene.model.calls == 2


def test_a_poisoned_run_that_somebody_works_on_is_left(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="running")
        with scene.store().lease(run_id):
            fail_poisoned(run_id, scene.store(), scene.settings)
        assert scene.run(run_id).status == "running"
        assert scene.queued() == []


def test_a_reply_that_is_too_large_fails_the_run_at_once(
    scene_of: SceneFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.run_store.REPLY_BYTES_MAX", 10)
    with scene_of() as scene:
        run = scene.carry_out(scene.add(callback=Callback(URL)))
    assert (run.status, (run.problem or {})["code"], len(run.steps)) == ("failed", "storage_limit_exceeded", 3)
    ((_, body),) = scene.delivered
    assert (body["status"], body["problem"]["code"], body["result"]) == ("failed", "storage_limit_exceeded", "")


def test_two_deliveries_at_once_carry_a_run_out_once(scene_of: SceneFactory) -> None:
    with scene_of() as scene, ThreadPoolExecutor(8) as workers:
        run_id = scene.add()
        store = scene.store()
        for done in [workers.submit(carry_out, run_id, store, scene.settings) for _ in range(8)]:
            done.result(60)
        run = scene.run(run_id)
    assert (run.status, run.attempts) == ("completed", 1)
    assert (scene.model.calls, scene.pool.executed) == (2, ["print(42)"])


def test_no_log_and_no_problem_holds_a_secret(scene_of: SceneFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "shared")
    with scene_of(POST_executions=Answer(403, b"")) as scene:
        run_id = scene.add(callback=Callback(URL))
        run = scene.carry_out(run_id)
    assert "pool_forbidden" in caplog.text
    for secret in ("sig=secret", scene.settings.pool_management_endpoint, session_identifier("", run.session_id)):
        assert secret not in caplog.text + json.dumps(run.problem) + repr(run)

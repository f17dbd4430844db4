"""Runs carried out from a real store, with every way in which a delivery can be cut off.

The store is the app's own on Azurite, the model is the stand-in, and the pool is scripted and tells what it ran.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from shared.errors import StorageUnreachable
from shared.run_lease import Lease
from shared.run_worker import carry_out, fail_poisoned
from shared.runs import Callback, Run, owner_of
from shared.session import session_identifier
from tests.interruptions import Killed, Life
from tests.remembering_pool import RememberingPool
from tests.run_scene import CODE, END, SCRIPT, URL, Scene, SceneFactory, WatchedStore
from tests.scripted_pool import described, identifiers, listing
from tests.scripted_server import Answer


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
        run_id = scene.add(callback=Callback(URL), session_is_new=True)
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
        run_id = scene.add(session_is_new=True)
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        with suppress(Killed):
            scene.carry_out(run_id, Life(1, of="create", after=True))
        assert scene.reply(run_id)["status"] == "cancelled"
        assert (scene.run(run_id).status, pool.there) == ("running", True)
        scene.end_lease(run_id)
        assert scene.carry_out(run_id).status == "cancelled"
    assert not pool.there
    assert pool.executed == ["print(42)"]


def test_a_cancelled_run_leaves_the_session_of_an_earlier_conversation(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    with scene_of(pool=pool) as scene:
        run_id = scene.add(session_is_new=False)
        pool.during = lambda: scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        assert scene.carry_out(run_id).status == "cancelled"
    assert pool.there


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
        run_id = scene.add(session_is_new=True)
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
        run_id = scene.add(session_is_new=True)
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

        store = LateStore(scene.storage)
        carry_out(run_id, store, scene.settings, deliver=scene.deliver)
    assert scene.delivered == []


def test_a_lease_that_is_lost_before_the_callback_leaves_it_to_whoever_has_the_run(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="completed", callback=Callback(URL))

        class LosingStore(WatchedStore):
            def reply(self, name: str) -> bytes | None:
                self.leases[0].lost.set()
                return super().reply(name)

        store = LosingStore(scene.storage)
        carry_out(run_id, store, scene.settings, deliver=scene.deliver)
        assert scene.queued() == ["later"]
    assert scene.delivered == []


LAST = "It is 43.\n\nTERMINATE"


def test_two_workers_who_both_come_to_an_end_tell_the_same(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add()
        life = Life(1, of="create", after=True)
        with suppress(Killed):
            scene.carry_out(run_id, life)
        first = scene.reply(run_id)
        scene.end_lease(run_id)
        # The other one has heard something else from the model.
        scene.store().change(
            run_id, lambda run: replace(run, steps=(*run.steps[:2], replace(run.steps[2], content=LAST)))
        )

        class BlindStore(WatchedStore):
            """Finds no reply before it has one of its own: the other worker writes it in between."""

            saved = False

            def reply(self, name: str) -> bytes | None:
                return super().reply(name) if self.saved else None

            def save_reply(self, name: str, data: bytes) -> bool:
                self.saved = True
                return super().save_reply(name, data)

        carry_out(run_id, BlindStore(scene.storage), scene.settings)
        run = scene.run(run_id)
        assert scene.reply(run_id) == first
    assert run.status == first["status"]
    assert [step.content for step in run.steps] == [row["content"] for row in first["steps"]]


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

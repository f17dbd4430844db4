"""Runs whose services fail, that are given up, or whose message is poisoned."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest

from shared import errors
from shared.run_worker import fail_poisoned
from shared.runs import Callback
from shared.session import session_identifier
from shared.session_pools import endpoints_of, place_of
from tests.interruptions import Killed, Life
from tests.remembering_pool import RememberingPool
from tests.run_scene import BUSY, URL, SceneFactory
from tests.scripted_pool import ended
from tests.scripted_server import Answer, Received


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


def test_a_service_that_is_busy_is_waited_for_however_often(scene_of: SceneFactory) -> None:
    with scene_of(pool=RememberingPool([BUSY] * 7 + [ended("42\n")])) as scene:
        run_id = scene.add(expires_at=time.time() + 1000)
        for attempt in range(1, 8):
            waiting = scene.carry_out(run_id)
            assert (waiting.status, waiting.attempts) == ("running", attempt)
            assert (waiting.problem or {})["code"] == "pool_unavailable"
        # Each message has put a later one in its place.
        assert scene.queued() == ["later"] * 7
        run = scene.carry_out(run_id)
    assert (run.status, run.problem) == ("completed", None)
    assert (scene.model.calls, scene.pool.executed) == (2, ["print(42)"])


def test_a_service_that_is_busy_until_the_deadline_is_the_runs_problem(scene_of: SceneFactory) -> None:
    with scene_of(POST_executions=BUSY) as scene:
        run = scene.carry_out(scene.add(expires_at=time.time() + 250))
        assert scene.queued() == []
    assert (run.status, run.attempts, (run.problem or {})["code"]) == ("failed", 1, "pool_unavailable")


def test_a_run_that_waits_can_be_cancelled(scene_of: SceneFactory) -> None:
    with scene_of(POST_executions=BUSY) as scene:
        run_id = scene.add(expires_at=time.time() + 1000)
        scene.carry_out(run_id)
        scene.store().change(run_id, lambda run: replace(run, cancel_requested=True))
        run = scene.carry_out(run_id)
    assert (run.status, run.problem, scene.model.calls) == ("cancelled", None, 1)


def test_an_execution_whose_answer_is_lost_is_asked_for_in_the_next_delivery(scene_of: SceneFactory) -> None:
    pool = RememberingPool()
    gone = [True]

    def execute(number: int, request: Received) -> Answer:
        reply = pool.execute(number, request)
        return Answer(hang_up=True) if gone.pop() else reply

    with scene_of(pool=pool, POST_executions=execute, GET_executions=Answer(500, b"")) as scene:
        run_id = scene.add()
        with suppress(errors.PoolOutcomeUnknown):
            scene.carry_out(run_id)
        assert scene.run(run_id).status == "running"
        with scene_of(pool=pool) as later:
            scene.settings = replace(later.settings, run_queue_name=scene.settings.run_queue_name)
            run = scene.carry_out(run_id)
    assert (run.status, run.attempts, pool.executed) == ("completed", 2, ["print(42)"])


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
            scene.carry_out(run_id, Life(1, of="create", after=True))
        scene.end_lease(run_id)
        assert scene.run(run_id).status == "running"
        fail_poisoned(run_id, scene.store(), scene.settings)
        run = scene.run(run_id)
    assert (run.status, run.problem, len(run.steps)) == ("completed", None, 3)
    assert scene.model.calls == 2


def test_a_poisoned_run_that_somebody_works_on_is_looked_at_again_later(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="running")
        with scene.store().lease(run_id):
            fail_poisoned(run_id, scene.store(), scene.settings)
        assert scene.run(run_id).status == "running"
        # Who has the lease may be dead.
        assert scene.queued() == ["later"]


def test_a_poisoned_run_that_has_ended_is_still_called_back(scene_of: SceneFactory) -> None:
    with scene_of() as scene:
        run_id = scene.add(status="completed", attempts=5, callback=Callback(URL))
        for _ in range(2):
            fail_poisoned(run_id, scene.store(), scene.settings, deliver=scene.deliver)
        assert scene.run(run_id).callback == Callback(URL, "delivered", 1, 200)
    assert [body["status"] for _, body in scene.delivered] == ["completed"]


def test_a_reply_that_is_too_large_fails_the_run_at_once(
    scene_of: SceneFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.run_store.REPLY_BYTES_MAX", 10)
    with scene_of() as scene:
        run = scene.carry_out(scene.add(callback=Callback(URL)))
    assert (run.status, (run.problem or {})["code"], len(run.steps)) == ("failed", "storage_limit_exceeded", 3)
    ((_, body),) = scene.delivered
    assert (body["status"], body["problem"]["code"], body["result"]) == ("failed", "storage_limit_exceeded", "")

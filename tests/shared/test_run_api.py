"""What callers of runs get, free of any host and with the store in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from shared import api, run_api, run_names, settings
from shared.errors import StorageUnreachable
from shared.run_links import RunLinks
from shared.run_store import RunStore
from shared.runs import FAILED, RUNNING, Callback, Run
from shared.steps import Step, Usage
from tests.memory_storage import MemoryStorage

ANNA = {"x-ms-client-principal-idp": "aad", "x-ms-client-principal-id": "anna"}
BERT = {"x-ms-client-principal-idp": "aad", "x-ms-client-principal-id": "bert"}
CALLBACK = "https://prod-01.westeurope.logic.azure.com/workflows/w/runs/r/actions/a/run?sig=s3cret"
PROBLEM = {
    "type": "urn:problem:pool_full",
    "title": "The session pool has no free session",
    "status": 503,
    "code": "pool_full",
    "detail": "The pool is full.",
    "remedy": "Try again.",
}
STEPS = (
    Step(1, "CodeWriter", "I will."),
    Step(2, "CodeExecutor", "42", 0, ("plot.png",)),
    Step(3, "CodeWriter", "42."),
)


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(run_api, "LOOK_SECONDS", 0.0)
    settings.current.cache_clear()
    yield
    settings.current.cache_clear()


@dataclass(frozen=True)
class Runs:
    """A store, and the account under it."""

    storage: MemoryStorage
    store: RunStore

    @property
    def ids(self) -> set[str]:
        return {name.split("/")[1] for name in self.storage.blobs if name.endswith("/record")}

    @property
    def looks(self) -> int:
        """How often a record was read."""
        return sum(operation == "read" and name.endswith("/record") for operation, name in self.storage.operations)

    def run(self, run_id: str) -> Run:
        stored = self.store.load(run_id)
        assert stored is not None
        return stored.run

    def change(self, run_id: str, **values: Any) -> Run:
        return self.store.change(run_id, lambda run: replace(run, **values))

    def overwrite(self, run: Run) -> None:
        """Writes a record behind the store's back."""
        # No version of its own is negative.
        self.storage.blobs[run_names.record(run.run_id)] = (run.to_json(), -len(self.storage.operations))

    def delete(self, run_id: str) -> None:
        del self.storage.blobs[run_names.record(run_id)]


@pytest.fixture
def runs() -> Runs:
    storage = MemoryStorage()
    return Runs(storage, RunStore(storage))


@pytest.fixture
def easy_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "true")


def post(runs: Runs, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None) -> api.Reply:
    sent = {"host": "localhost:7071", "content-type": "application/json", **(headers or {})}
    if key is not None:
        sent["idempotency-key"] = key
    data = json.dumps(body if body is not None else {"message": "x"}).encode()
    return run_api.create(api.Request("POST", sent, {}, data), runs.store)


def content(reply: api.Reply) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(reply.body)
    return body


def started(runs: Runs, body: Any = None, **options: Any) -> str:
    """The id of a new run."""
    return str(content(post(runs, body, **options))["run_id"])


def token_of(runs: Runs, run_id: str) -> str:
    return RunLinks("", runs.store.secret()).token(run_id)


def request_for(run_id: str, query: dict[str, str], headers: dict[str, str] | None = None) -> api.Request:
    return api.Request("GET", {"host": "localhost:7071", **(headers or {})}, query, route={"run_id": run_id})


def get(
    runs: Runs,
    run_id: str,
    query: Mapping[str, str] | None = None,
    *,
    headers: dict[str, str] | None = None,
    **more: str,
) -> api.Reply:
    """The run as seen by who holds its token; `token=""` is sent as none."""
    given = {"token": token_of(runs, run_id), **(query or {}), **more}
    request = request_for(run_id, {name: value for name, value in given.items() if value}, headers)
    return asyncio.run(run_api.get(request, runs.store))


def cancel(runs: Runs, run_id: str, *, headers: dict[str, str] | None = None, token: str | None = None) -> api.Reply:
    given = token_of(runs, run_id) if token is None else token
    return run_api.cancel(request_for(run_id, {"token": given} if given else {}, headers), runs.store)


# Accepting


def test_a_run_is_recorded_and_queued_before_it_is_accepted(runs: Runs) -> None:
    files = [{"name": "a.csv", "content": "MSwyCg=="}]
    reply = post(runs, {"message": "sum it", "max_turns": 3, "deadline_seconds": 1800, "files": files})
    body = content(reply)
    assert (reply.status, body["status"]) == (202, "queued")
    assert set(body) == {"run_id", "status", "status_url", "cancel_url", "session_id"}
    run = runs.run(body["run_id"])
    assert (run.message, run.max_turns, run.session_id) == ("sum it", 3, body["session_id"])
    assert run.expires_at - run.created_at == 1800
    assert runs.store.files(run.run_id) == {"a.csv": b"1,2\n"}
    assert runs.storage.queue == [run.run_id]


def test_a_run_gets_no_more_time_than_the_app_allows(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_MAX_DEADLINE_SECONDS", "300")
    settings.current.cache_clear()
    run = runs.run(content(post(runs))["run_id"])
    assert run.expires_at - run.created_at == 300


def test_it_says_where_to_look_and_when(runs: Runs) -> None:
    reply = post(runs)
    body = content(reply)
    assert reply.headers["Location"] == body["status_url"]
    assert reply.headers["Retry-After"].isdigit()
    assert reply.headers["Cache-Control"] == "no-store"
    address = urlsplit(body["status_url"])
    assert (address.scheme, address.netloc, address.path) == ("http", "localhost:7071", f"/api/runs/{body['run_id']}")
    query = dict(parse_qsl(address.query))
    assert asyncio.run(run_api.get(request_for(body["run_id"], query), runs.store)).status == 202
    cancelled = run_api.cancel(
        request_for(body["run_id"], dict(parse_qsl(urlsplit(body["cancel_url"]).query))), runs.store
    )
    assert cancelled.status == 202


def test_defaults_are_the_apps_settings(runs: Runs) -> None:
    run = runs.run(started(runs))
    assert run.expires_at - run.created_at == 1200
    assert (run.max_turns, run.token_budget, run.callback) == (10, 200_000, None)
    assert runs.run(started(runs, {"message": "x", "max_total_tokens": 7})).token_budget == 7


def test_the_record_holds_no_token(runs: Runs) -> None:
    run_id = started(runs)
    token = token_of(runs, run_id)
    assert token not in runs.run(run_id).to_json().decode()


def test_with_a_callback_there_is_no_location_to_poll(runs: Runs) -> None:
    reply = post(runs, {"message": "x", "callback_url": CALLBACK})
    assert reply.status == 200
    assert not {"Location", "Retry-After"} & set(reply.headers)
    assert set(content(reply)) == {"run_id", "status", "status_url", "cancel_url", "session_id"}
    assert runs.run(content(reply)["run_id"]).callback == Callback(CALLBACK)
    assert "s3cret" not in reply.body.decode()


@pytest.mark.parametrize(
    "url",
    [
        "http://prod.logic.azure.com/x",
        "https://evil.example.com/x",
        "https://127.0.0.1/x",
        "https://prod.logic.azure.com/".ljust(4097, "x"),
    ],
)
def test_a_callback_that_may_not_be_is_refused_without_its_words(runs: Runs, url: str) -> None:
    reply = post(runs, {"message": "x", "callback_url": url})
    assert (reply.status, content(reply)["code"]) == (400, "callback_url_invalid")
    assert url not in reply.body.decode()
    assert not runs.ids


@pytest.mark.parametrize(
    ("body", "headers", "code", "status"),
    [
        ({"message": ""}, {}, "message_empty", 400),
        ({"message": "x", "a": 1}, {}, "unknown_field", 400),
        ({"message": "x"}, {"content-type": "text/plain"}, "content_type_unsupported", 415),
        ({"message": "x"}, {"idempotency-key": "a b"}, "idempotency_key_invalid", 400),
        ({"message": "x", "files": [{"name": "../a", "content": ""}]}, {}, "file_name_invalid", 400),
    ],
)
def test_a_request_at_fault_leaves_nothing(
    runs: Runs, body: Any, headers: dict[str, str], code: str, status: int
) -> None:
    reply = post(runs, body, headers=headers)
    assert (reply.status, content(reply)["code"]) == (status, code)
    assert (runs.ids, runs.storage.queue) == (set(), [])


def test_a_run_that_could_not_be_queued_is_an_error_and_comes_right_with_the_same_key(runs: Runs) -> None:
    runs.storage.failing["send"] = StorageUnreachable()
    refused = post(runs, key="k")
    assert (refused.status, content(refused)["code"]) == (503, "storage_unreachable")
    assert refused.headers["Retry-After"]
    runs.storage.failing.clear()
    accepted = content(post(runs, key="k"))
    assert runs.storage.queue == [accepted["run_id"]]
    assert runs.ids == {accepted["run_id"]}


# Repetitions


def test_the_same_key_and_body_give_the_same_run_and_address(runs: Runs) -> None:
    first, second = post(runs, key="k"), post(runs, {"message": "x", "session_id": None}, key="k")
    assert content(first) == content(second)
    assert first.headers["Location"] == second.headers["Location"]
    assert len(runs.ids) == 1


def test_a_repetition_of_a_run_under_way_does_not_queue_it_again(runs: Runs) -> None:
    run_id = started(runs, key="k")
    runs.change(run_id, status=RUNNING)
    assert content(post(runs, key="k"))["status"] == "running"
    runs.change(run_id, status="completed")
    reply = post(runs, key="k")
    assert (reply.status, content(reply)["status"]) == (202, "completed")
    assert runs.storage.queue == [run_id]


def test_the_same_key_with_another_body_is_refused(runs: Runs) -> None:
    started(runs, key="k")
    reply = post(runs, {"message": "y"}, key="k")
    assert (reply.status, content(reply)["code"]) == (422, "idempotency_key_reused")


def test_without_a_key_every_post_is_a_run_of_its_own(runs: Runs) -> None:
    assert started(runs) != started(runs)


def test_what_logic_apps_sends_is_a_key(runs: Runs) -> None:
    headers = {"x-ms-action-tracking-id": "a", "x-ms-tracking-id": "changes"}
    again = {**headers, "x-ms-tracking-id": "with each attempt"}
    assert started(runs, headers=headers) == started(runs, headers=again)


@pytest.mark.usefixtures("easy_auth")
def test_a_key_belongs_to_its_caller(runs: Runs) -> None:
    assert started(runs, key="k", headers=ANNA) != started(runs, key="k", headers=BERT)
    assert started(runs, key="k", headers=ANNA) == started(runs, key="k", headers=ANNA)


def test_a_key_that_is_deleted_while_it_is_used_is_told_as_a_conflict(runs: Runs) -> None:
    started(runs, key="k")

    def forget(operation: str, name: str) -> None:
        if operation == "read" and name.startswith(run_names.KEYS):
            runs.storage.delete(name)

    runs.storage.before = forget
    reply = post(runs, key="k")
    assert (reply.status, content(reply)["code"]) == (409, "run_changed")


def test_ten_posts_at_once_with_one_key_make_one_run(runs: Runs) -> None:
    with ThreadPoolExecutor(10) as threads:
        replies = list(threads.map(lambda _: post(runs, key="k"), range(10)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.headers["Location"] for reply in replies}) == 1
    assert set(runs.storage.queue) == runs.ids
    assert len(runs.ids) == 1


# Following


def test_a_run_under_way_shows_its_steps(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status=RUNNING, steps=STEPS[:2], usage=Usage("m", 1, 2, 3))
    reply = get(runs, run_id)
    body = content(reply)
    assert (reply.status, body["status"]) == (202, "running")
    assert reply.headers["Location"] == body["status_url"]
    assert reply.headers["Retry-After"].isdigit()
    assert body["steps"] == [
        {"index": 1, "agent": "CodeWriter", "content": "I will."},
        {"index": 2, "agent": "CodeExecutor", "content": "42", "exit_code": 0, "pictures": ["plot.png"]},
    ]
    assert body["usage"]["total_tokens"] == 3
    assert body["cancel_requested"] is False
    assert body["created_at"].endswith("Z")
    assert body["created_at"] < body["expires_at"]


def test_after_leaves_out_the_steps_that_the_caller_has(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status=RUNNING, steps=STEPS)
    assert [step["index"] for step in content(get(runs, run_id, after="2"))["steps"]] == [3]
    runs.change(run_id, status="completed")
    assert [step["index"] for step in content(get(runs, run_id, after="1"))["steps"]] == [2, 3]
    assert content(get(runs, run_id, after="99"))["steps"] == []


def test_an_ended_run_is_the_whole_reply(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status="completed", steps=STEPS)
    reply_of_chat = {"result": "42", "pictures": [], "files": [], "chat_history": [{"content": "x"}], "cost": {}}
    runs.store.save_reply(run_id, json.dumps(reply_of_chat).encode())
    reply = get(runs, run_id)
    body = content(reply)
    assert (reply.status, body["status"], body["result"]) == (200, "completed", "42")
    assert "Location" not in reply.headers
    assert body["chat_history"] == [{"content": "x"}]
    assert len(body["steps"]) == 3


@pytest.mark.parametrize("status", ["cancelled", "deadline", "budget"])
def test_a_run_that_ended_early_has_the_same_form(runs: Runs, status: str) -> None:
    run_id = started(runs)
    runs.change(run_id, status=status, steps=STEPS[:1])
    body = content(get(runs, run_id))
    assert (body["status"], body["result"], body["pictures"], body["files"]) == (status, "", [], [])
    assert len(body["steps"]) == 1


def test_what_a_run_waits_for_is_told(runs: Runs) -> None:
    run_id = started(runs)
    assert "problem" not in content(get(runs, run_id))
    runs.change(run_id, status="running", problem=PROBLEM)
    reply = get(runs, run_id)
    assert (reply.status, content(reply)["status"], content(reply)["problem"]) == (202, "running", PROBLEM)


def test_a_failed_run_is_200_with_its_problem(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status=FAILED, problem=PROBLEM)
    reply = get(runs, run_id)
    assert (reply.status, content(reply)["status"], content(reply)["problem"]) == (200, "failed", PROBLEM)


@pytest.mark.parametrize("asked", ["1", "true"])
def test_a_failed_run_can_be_its_problems_own_status(runs: Runs, asked: str) -> None:
    run_id = started(runs)
    first = get(runs, run_id, fail_status=asked)
    # Whoever follows the address of the first answer gets the status too.
    assert (first.status, first.headers["Location"].endswith("&fail_status=1")) == (202, True)
    assert "fail_status" not in get(runs, run_id).headers["Location"]
    runs.change(run_id, status=FAILED, problem=PROBLEM)
    reply = get(runs, run_id, fail_status=asked)
    assert (reply.status, reply.headers["Content-Type"]) == (503, "application/problem+json")
    assert (reply.headers["Retry-After"], reply.headers["Cache-Control"]) == ("10", "no-store")
    assert content(reply) == PROBLEM
    runs.change(run_id, status="completed", problem=None)
    assert get(runs, run_id, fail_status=asked).status == 200


def test_a_callbacks_state_is_shown_and_its_address_is_not(runs: Runs) -> None:
    run_id = started(runs, {"message": "x", "callback_url": CALLBACK})
    runs.change(run_id, status="completed", callback=Callback(CALLBACK, "given_up", 5, 500))
    reply = get(runs, run_id)
    assert content(reply)["callback"] == {"state": "given_up", "attempts": 5, "last_status": 500}
    assert "s3cret" not in reply.body.decode()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"wait": "21"}, "wait_out_of_range"),
        ({"wait": "-1"}, "wait_out_of_range"),
        ({"wait": "nan"}, "wait_out_of_range"),
        ({"wait": "1e1"}, "wait_out_of_range"),
        ({"wait": "5,5"}, "wait_out_of_range"),
        ({"after": "1.5"}, "after_out_of_range"),
        ({"after": "٣"}, "after_out_of_range"),
        ({"after": "99999999999"}, "after_out_of_range"),
        ({"fail_status": "yes"}, "fail_status_invalid"),
    ],
)
def test_a_parameter_at_fault_is_named(runs: Runs, query: dict[str, str], code: str) -> None:
    reply = get(runs, started(runs), query)
    assert (reply.status, content(reply)["code"]) == (400, code)


# Waiting


def news_at(runs: Runs, run_id: str, look: int, **values: Any) -> None:
    """Lets something happen to the run right before its record is read for the n-th time from now."""
    new = replace(runs.run(run_id), **values)
    last = runs.looks + look

    def happen(operation: str, name: str) -> None:
        if operation == "read" and name == run_names.record(run_id) and runs.looks == last:
            runs.overwrite(new)

    runs.storage.before = happen


@pytest.mark.parametrize("values", [{"steps": STEPS[:2]}, {"status": "completed"}, {"status": RUNNING}])
def test_waiting_ends_with_the_first_news(runs: Runs, values: dict[str, Any]) -> None:
    run_id = started(runs)
    runs.change(run_id, steps=STEPS[:1])
    news_at(runs, run_id, 4, **values)
    before = runs.looks
    reply = get(runs, run_id, wait="20")
    assert runs.looks == before + 4
    assert reply.status == (200 if values.get("status") == "completed" else 202)
    assert len(content(reply)["steps"]) == len(values.get("steps", STEPS[:1]))


def test_waiting_is_over_at_once_where_the_caller_lacks_a_step(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status=RUNNING, steps=STEPS[:2])
    before = runs.looks
    assert len(content(get(runs, run_id, wait="20", after="1"))["steps"]) == 1
    assert runs.looks == before + 1
    news_at(runs, run_id, 3, steps=STEPS)
    before = runs.looks
    assert [step["index"] for step in content(get(runs, run_id, wait="20", after="2"))["steps"]] == [3]
    assert runs.looks == before + 3


def test_waiting_is_over_at_once_where_the_run_has_ended(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status="cancelled")
    before = runs.looks
    assert get(runs, run_id, wait="20").status == 200
    assert runs.looks == before + 1


def test_waiting_has_an_end_without_news(runs: Runs) -> None:
    run_id = started(runs)
    seconds = iter(range(0, 1000, 6))
    request = request_for(run_id, {"token": token_of(runs, run_id), "wait": "20"})
    reply = asyncio.run(run_api.get(request, runs.store, clock=lambda: float(next(seconds))))
    assert (reply.status, content(reply)["status"]) == (202, "queued")
    assert 2 < runs.looks < 8


def test_without_wait_the_answer_is_immediate(runs: Runs) -> None:
    run_id = started(runs)
    get(runs, run_id)
    assert runs.looks == 1


def test_where_too_many_wait_the_answer_is_immediate(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_api, "WAITING_MAX", 0)
    run_id = started(runs)
    assert get(runs, run_id, wait="20").status == 202
    assert runs.looks == 1


def test_polls_that_were_answered_take_no_room_from_those_that_wait(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_api, "WAITING_MAX", 1)
    run_id = started(runs)
    for query in ({}, {"wait": "0"}, {"wait": "nan"}, {"token": "wrong"}):
        get(runs, run_id, query)
    news_at(runs, run_id, 3, status="completed")
    before = runs.looks
    assert get(runs, run_id, wait="20").status == 200
    assert runs.looks == before + 3


def test_waiting_requests_share_few_threads(runs: Runs) -> None:
    """More wait than the event loop has threads, and all hear the news."""
    run_id = started(runs)
    token = token_of(runs, run_id)
    news_at(runs, run_id, 300, status="completed")

    async def all_of_them() -> list[api.Reply]:
        request = request_for(run_id, {"token": token, "wait": "20"})
        return await asyncio.wait_for(asyncio.gather(*(run_api.get(request, runs.store) for _ in range(100))), 15)

    assert {reply.status for reply in asyncio.run(all_of_them())} == {200}


def test_a_wait_ends_with_the_storages_error(runs: Runs) -> None:
    run_id = started(runs)

    def fail(operation: str, name: str) -> None:
        if operation == "read" and runs.looks == 3:
            raise StorageUnreachable

    runs.storage.before = fail
    reply = get(runs, run_id, wait="20")
    assert (reply.status, content(reply)["code"]) == (503, "storage_unreachable")


# Who may


def alike(replies: list[api.Reply]) -> bool:
    return len({(reply.status, reply.body, tuple(sorted(reply.headers.items()))) for reply in replies}) == 1


def test_an_unknown_run_and_a_wrong_token_are_told_alike_and_read_nothing(runs: Runs) -> None:
    run_id, other = started(runs), started(runs)
    unknown = "0" * 32
    right = token_of(runs, run_id)
    attempts = [(unknown, right), (unknown, ""), (run_id, ""), (run_id, "x"), (other, right), ("x", right), ("", "")]
    refused = [get(runs, name, token=token) for name, token in attempts]
    refused += [cancel(runs, name, token=token) for name, token in attempts]
    assert (refused[0].status, content(refused[0])["code"]) == (404, "run_not_found")
    assert alike(refused)
    assert runs.looks == 0


def test_a_deleted_run_is_unknown_to_its_token_too(runs: Runs) -> None:
    run_id = started(runs)
    wrong = get(runs, run_id, token="x")
    runs.delete(run_id)
    assert alike([wrong, get(runs, run_id), cancel(runs, run_id)])


def test_a_token_of_another_secret_opens_nothing(runs: Runs) -> None:
    run_id = started(runs)
    assert get(runs, run_id, token=RunLinks("", b"another secret").token(run_id)).status == 404


@pytest.mark.usefixtures("easy_auth")
def test_the_owner_needs_no_token_and_nobody_elses_name_helps(runs: Runs) -> None:
    run_id = started(runs, headers=ANNA)
    mine = get(runs, run_id, token="", headers=ANNA)
    assert mine.status == 202
    assert "token=" in mine.headers["Location"]
    assert get(runs, run_id, headers=BERT).status == 202
    others = [get(runs, run_id, token="", headers=BERT), get(runs, "0" * 32, token="", headers=BERT)]
    assert alike([*others, get(runs, run_id, token="")])
    assert others[0].status == 404
    assert cancel(runs, run_id, token="", headers=BERT).status == 404
    assert cancel(runs, run_id, token="", headers=ANNA).status == 202


def test_where_nobody_is_named_a_name_opens_nothing(runs: Runs) -> None:
    run_id = started(runs, headers=ANNA)
    assert get(runs, run_id, token="", headers=ANNA).status == 404


# Cancelling


def test_cancelling_asks_the_run_to_stop_once_and_for_all(runs: Runs) -> None:
    run_id = started(runs)
    runs.change(run_id, status=RUNNING, steps=STEPS[:1])
    for _ in range(2):
        reply = cancel(runs, run_id)
        assert (reply.status, content(reply)["cancel_requested"]) == (202, True)
    assert runs.run(run_id).cancel_requested
    assert reply.headers["Location"] == content(reply)["status_url"]


def test_cancelling_an_ended_run_changes_nothing(runs: Runs) -> None:
    run_id = started(runs)
    before = runs.change(run_id, status="completed")
    reply = cancel(runs, run_id)
    assert (reply.status, content(reply)["status"]) == (200, "completed")
    assert runs.run(run_id) == before


def test_a_run_that_ends_while_it_is_cancelled_stays_as_it_ended(runs: Runs) -> None:
    run_id = started(runs)
    ended = replace(runs.run(run_id), status="completed")

    def end(operation: str, name: str) -> None:
        if operation == "replace":
            runs.storage.before = lambda operation, name: None
            runs.overwrite(ended)

    runs.storage.before = end
    assert cancel(runs, run_id).status == 200
    assert runs.run(run_id) == ended


def test_a_run_that_changes_all_the_time_is_told_as_a_conflict(runs: Runs) -> None:
    run_id = started(runs)
    before = runs.run(run_id)
    runs.storage.before = lambda operation, name: runs.overwrite(before) if operation == "replace" else None
    reply = cancel(runs, run_id)
    assert (reply.status, content(reply)["code"]) == (409, "run_changed")


def cancel_by_key(runs: Runs, headers: dict[str, str]) -> api.Reply:
    request = api.Request("POST", {"host": "localhost:7071", **headers}, {})
    return run_api.cancel_by_key(request, runs.store)


def test_a_webhook_action_cancels_its_run_by_the_key_and_gets_no_202_to_poll(runs: Runs) -> None:
    run_id = started(runs, {"message": "x", "callback_url": CALLBACK}, key="k")
    for _ in range(2):
        reply = cancel_by_key(runs, {"idempotency-key": "k"})
        assert (reply.status, content(reply)["run_id"]) == (200, run_id)
        assert "Location" not in reply.headers
    assert runs.run(run_id).cancel_requested
    before = runs.change(run_id, status="cancelled")
    assert content(cancel_by_key(runs, {"idempotency-key": "k"}))["status"] == "cancelled"
    assert runs.run(run_id) == before


def test_what_logic_apps_sends_by_itself_finds_the_run_too(runs: Runs) -> None:
    headers = {"x-ms-workflow-run-id": "0858", "x-ms-workflow-operation-name": "Wait"}
    run_id = started(runs, headers=headers)
    assert content(cancel_by_key(runs, headers))["run_id"] == run_id


def test_a_key_that_has_made_no_run_cancels_none(runs: Runs) -> None:
    run_id = started(runs, key="k")
    assert (cancel_by_key(runs, {"idempotency-key": "l"}).status, cancel_by_key(runs, {}).status) == (404, 400)
    assert not runs.run(run_id).cancel_requested
    runs.delete(run_id)
    assert cancel_by_key(runs, {"idempotency-key": "k"}).status == 404


@pytest.mark.usefixtures("easy_auth")
def test_nobody_cancels_by_another_callers_key(runs: Runs) -> None:
    run_id = started(runs, key="k", headers=ANNA)
    assert cancel_by_key(runs, {"idempotency-key": "k", **BERT}).status == 404
    assert not runs.run(run_id).cancel_requested
    assert cancel_by_key(runs, {"idempotency-key": "k", **ANNA}).status == 200


# The list


def recent(runs: Runs, headers: dict[str, str] | None = None, **query: str) -> api.Reply:
    return run_api.recent(api.Request("GET", {"host": "localhost:7071", **(headers or {})}, query), runs.store)


def test_the_list_is_newest_first_and_in_pages(runs: Runs) -> None:
    ids = [started(runs) for _ in range(5)]
    first = content(recent(runs, limit="3"))
    second = content(recent(runs, limit="3", continuation=first["continuation"]))
    assert (len(first["runs"]), second["continuation"]) == (3, None)
    rows = first["runs"] + second["runs"]
    assert sorted(row["run_id"] for row in rows) == sorted(ids)
    times = [row["created_at"] for row in rows]
    assert times == sorted(times, reverse=True)


def test_a_continuation_that_came_with_no_list_is_refused(runs: Runs) -> None:
    reply = recent(runs, continuation="%%%")
    assert (reply.status, content(reply)["code"]) == (400, "continuation_invalid")


def test_a_list_that_all_with_the_key_share_opens_nothing(runs: Runs) -> None:
    body = content(post(runs))
    runs.change(body["run_id"], steps=STEPS, usage=Usage("m", 1, 2, 3))
    text = recent(runs).body.decode()
    (row,) = json.loads(text)["runs"]
    assert set(row) == {"run_id", "status", "created_at", "expires_at", "steps_count", "usage"}
    assert (row["steps_count"], row["status"]) == (3, "queued")
    assert body["session_id"] not in text
    assert token_of(runs, body["run_id"]) not in text


@pytest.mark.usefixtures("easy_auth")
def test_a_named_caller_sees_its_own_runs_with_addresses_without_tokens(runs: Runs) -> None:
    mine, _ = content(post(runs, headers=ANNA)), post(runs, headers=BERT)
    reply = recent(runs, ANNA)
    (row,) = content(reply)["runs"]
    assert row["status_url"] == f"http://localhost:7071/api/runs/{mine['run_id']}"
    assert row["cancel_url"] == f"{row['status_url']}/cancel"
    assert row["session_id"] == mine["session_id"]
    assert "token=" not in reply.body.decode()


@pytest.mark.parametrize("limit", ["0", "51", "x", "-1"])
def test_a_page_has_1_to_50_runs(runs: Runs, limit: str) -> None:
    reply = recent(runs, limit=limit)
    assert (reply.status, content(reply)["code"]) == (400, "limit_out_of_range")
    assert recent(runs, limit="50").status == 200


# Where the app is


def test_addresses_follow_no_foreign_name(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    spoofed = {"host": "evil.example.com", "x-forwarded-host": "evil.example.com"}
    refused = post(runs, headers=spoofed)
    assert (refused.status, content(refused)["code"]) == (500, "setting_invalid")
    assert "PUBLIC_URL" in content(refused)["detail"]
    assert not runs.ids
    monkeypatch.setenv("WEBSITE_HOSTNAME", "app.azurewebsites.net")
    reply = post(runs, headers=spoofed)
    assert reply.headers["Location"].startswith("https://app.azurewebsites.net/api/runs/")
    assert "evil" not in reply.body.decode()

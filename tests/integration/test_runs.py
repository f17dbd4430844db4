"""Runs over HTTP: accepted at once, followed live, cancelled, failed, and what Easy Auth changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from local import azurite
from local.stack import HOST, STORAGE, Stack
from tests.integration.conftest import StackFactory
from tests.needs import need

BOUND_SECONDS = 60.0
CODE = "```python\nprint(6 * 7)\n```"
END = "The answer is 42.\n\nTERMINATE"


@pytest.fixture(scope="module", autouse=True)
def _storage() -> None:
    need(azurite.missing())


def script(folder: Path, *replies: Any) -> dict[str, Any]:
    """Options for a stack whose model says this."""
    path = folder / "script.json"
    path.write_text(json.dumps(list(replies)), "utf-8")
    return {"model_args": ["--script", str(path)]}


def post(stack: Stack, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{stack.url}/api/runs", json=body, headers=headers, timeout=30)


def started(stack: Stack, message: str, **fields: Any) -> dict[str, Any]:
    """What a new run's caller is told."""
    response = post(stack, {"message": message, **fields})
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    return body


def follow(url: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every state of a run that waiting for news gives, as status and body, up to its end."""
    after, until = 0, time.monotonic() + BOUND_SECONDS
    while time.monotonic() < until:
        response = requests.get(url, params={"wait": "20", "after": str(after)}, timeout=40)
        body = response.json()
        yield response.status_code, body
        if response.status_code != 202:
            return
        after = max([after, *(step["index"] for step in body["steps"])])
    raise AssertionError(f"the run is still {body['status']}")


def ended(url: str) -> dict[str, Any]:
    """The run's last state, with all its steps."""
    for _ in follow(url):
        pass
    response = requests.get(url, timeout=30)
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


def test_a_run_is_accepted_at_once_and_answered_in_the_end(stack: Stack) -> None:
    response = post(stack, {"message": "What is the standard deviation of 4, 8, 15, 16, 23, 42?"})
    accepted = response.json()
    assert (response.status_code, accepted["status"]) == (202, "queued")
    assert response.headers["Location"] == accepted["status_url"]
    assert accepted["status_url"].startswith(f"{stack.url}/api/runs/{accepted['run_id']}?token=")
    assert int(response.headers["Retry-After"]) > 0
    reply = ended(response.headers["Location"])
    assert (reply["status"], reply["run_id"]) == ("completed", accepted["run_id"])
    assert "13.4907" in reply["result"]
    assert [step["agent"] for step in reply["steps"]] == ["CodeWriter", "CodeExecutor", "CodeWriter"]
    assert reply["usage"]["total_tokens"] > 0
    assert reply["session_id"] == accepted["session_id"]
    # What comes of a chat comes of a run.
    assert {"pictures", "files", "chat_history", "cost"} <= set(reply)


def test_pictures_come_back_as_in_a_chat(stack: Stack) -> None:
    reply = ended(started(stack, "Plot sin(x) from 0 to 10")["status_url"])
    assert [picture["content_type"] for picture in reply["pictures"]] == ["image/png"]


def test_files_of_the_request_reach_the_session(stack: Stack) -> None:
    message = "Run this:\n```python\nprint(open('/mnt/data/a.csv').read())\n```"
    files = [{"name": "a.csv", "content": "NDEsNDIK"}]
    assert "41,42" in ended(started(stack, message, files=files)["status_url"])["result"]


def test_a_run_goes_on_in_the_session_of_a_chat(stack: Stack) -> None:
    chat = requests.post(f"{stack.url}/api/chat", json={"message": f"Run this:\n{CODE[:10]}x = 41\n```"}, timeout=60)
    again = "Run this:\n```python\nprint(x + 1)\n```"
    reply = ended(started(stack, again, session_id=chat.json()["session_id"])["status_url"])
    assert "42" in reply["result"]


def test_a_new_runs_session_has_lost_nothing(stack: Stack) -> None:
    reply = ended(started(stack, f"Run this:\n{CODE}")["status_url"])
    assert "session is new" not in json.dumps(reply["steps"])


def test_steps_are_seen_while_the_run_goes_on(stack_of: StackFactory, tmp_path: Path) -> None:
    slow = {"content": END, "latency": 3}
    with stack_of(**script(tmp_path, CODE, slow)) as stack:
        began = time.monotonic()
        states = list(follow(started(stack, "Compute")["status_url"]))
        took = time.monotonic() - began
    live = [step["index"] for status, body in states if status == 202 for step in body["steps"]]
    # The last one is seen live only where somebody looks between its record and that of the end.
    assert live[:2] == [1, 2]
    assert live + [step["index"] for step in states[-1][1]["steps"]] == [1, 2, 3]
    assert states[-1][1]["status"] == "completed"
    # The wait ended with the news, not with its twenty seconds.
    assert took < 15


def test_ten_posts_at_once_with_one_key_are_one_run(stack: Stack) -> None:
    def send(_: int) -> requests.Response:
        return post(stack, {"message": "What is 6 times 7?"}, **{"Idempotency-Key": "ten-at-once"})

    with ThreadPoolExecutor(10) as threads:
        responses = list(threads.map(send, range(10)))
    assert {response.status_code for response in responses} == {202}
    (location,) = {response.headers["Location"] for response in responses}
    reply = ended(location)
    assert reply["status"] == "completed"
    assert len(reply["steps"]) == 3
    # Later, too, it is the same; and nothing else may be asked by that key.
    assert send(11).headers["Location"] == location
    other = post(stack, {"message": "What is 6 times 8?"}, **{"Idempotency-Key": "ten-at-once"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_run_under_way_is_cancelled_at_its_next_step(stack_of: StackFactory, tmp_path: Path) -> None:
    with stack_of(**script(tmp_path, CODE, {"content": CODE, "latency": 6}, END)) as stack:
        accepted = started(stack, "Compute")
        for _, body in follow(accepted["status_url"]):
            if body["steps"]:
                break
        cancelled = requests.post(accepted["cancel_url"], timeout=30)
        assert (cancelled.status_code, cancelled.json()["cancel_requested"]) == (202, True)
        reply = ended(accepted["status_url"])
        again = requests.post(accepted["cancel_url"], timeout=30)
    assert reply["status"] == "cancelled"
    assert END not in [step["content"] for step in reply["steps"]]
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_cancelling_an_ended_run_changes_nothing(stack: Stack) -> None:
    accepted = started(stack, "What is 6 times 7?")
    before = ended(accepted["status_url"])
    assert requests.post(accepted["cancel_url"], timeout=30).status_code == 200
    assert requests.get(accepted["status_url"], timeout=30).json() == before


def test_a_model_that_is_not_there_makes_a_failed_run(stack_of: StackFactory, tmp_path: Path) -> None:
    with stack_of(**script(tmp_path, {"status": 404})) as stack:
        url = started(stack, "Compute")["status_url"]
        reply = ended(url)
        as_status = requests.get(f"{url}&fail_status=1", timeout=30)
    assert (reply["status"], reply["problem"]["code"]) == ("failed", "model_refused")
    assert reply["problem"]["remedy"]
    assert (as_status.status_code, as_status.json()) == (reply["problem"]["status"], reply["problem"])
    assert as_status.headers["Content-Type"] == "application/problem+json"
    assert "127.0.0.1" not in json.dumps(reply["problem"])


def test_a_wrong_token_and_an_unknown_run_are_told_alike(stack: Stack) -> None:
    accepted = started(stack, "What is 6 times 7?")
    address, _, token = accepted["status_url"].partition("?token=")
    unknown = f"{stack.url}/api/runs/{'0' * 32}"
    urls = [address, f"{address}?token=x", f"{unknown}?token={token}", unknown]
    replies = [requests.get(url, timeout=30) for url in urls]
    replies += [requests.post(f"{url.partition('?')[0]}/cancel?{url.partition('?')[2]}", timeout=30) for url in urls]
    assert {(reply.status_code, reply.text) for reply in replies} == {(404, replies[0].text)}
    ended(accepted["status_url"])


def test_the_list_names_runs_and_opens_none(stack: Stack) -> None:
    accepted = started(stack, "What is 6 times 7?")
    ended(accepted["status_url"])
    listed = requests.get(f"{stack.url}/api/runs", params={"limit": "1"}, timeout=30)
    (row,) = listed.json()["runs"]
    assert (row["run_id"], row["status"]) == (accepted["run_id"], "completed")
    assert accepted["status_url"].partition("token=")[2] not in listed.text
    assert accepted["session_id"] not in listed.text


def test_an_owner_whom_app_service_names_needs_no_token(stack_of: StackFactory) -> None:
    anna, bert = ({"x-ms-client-principal-idp": "aad", "x-ms-client-principal-id": name} for name in ("anna", "bert"))
    with stack_of(host_env={"WEBSITE_AUTH_ENABLED": "true"}) as stack:
        accepted = post(stack, {"message": "What is 6 times 7?"}, **anna).json()
        assert ended(accepted["status_url"])["status"] == "completed"
        (row,) = requests.get(f"{stack.url}/api/runs", headers=anna, timeout=30).json()["runs"]
        assert requests.get(row["status_url"], headers=anna, timeout=30).json()["status"] == "completed"
        assert requests.get(row["status_url"], headers=bert, timeout=30).status_code == 404
        assert requests.get(f"{stack.url}/api/runs", headers=bert, timeout=30).json()["runs"] == []


def test_many_waiting_callers_keep_nobody_from_a_chat(stack_of: StackFactory, tmp_path: Path) -> None:
    replies = script(tmp_path, {"content": END, "latency": 12})
    with stack_of(**replies, host_env={"PYTHON_THREADPOOL_THREAD_COUNT": "4"}) as stack:
        url = started(stack, "Wait")["status_url"]
        with ThreadPoolExecutor(30) as threads:
            waiting = [threads.submit(ended, url) for _ in range(30)]
            began = time.monotonic()
            # It takes a thread of the four, and the run another one.
            assert requests.get(f"{stack.url}/api/runs", timeout=30).status_code == 200
            took = time.monotonic() - began
            assert {future.result(BOUND_SECONDS)["status"] for future in waiting} == {"completed"}
    # Held threads would come free with the run's end.
    assert took < 10


def test_without_storage_chats_work_and_runs_name_the_setting(stack_of: StackFactory) -> None:
    with stack_of(host_env={"AzureWebJobsStorage": ""}) as stack:
        refused = post(stack, {"message": "x"})
        chat = requests.post(f"{stack.url}/api/chat", json={"message": "What is 6 times 7?"}, timeout=60)
    assert (refused.status_code, refused.json()["code"]) == (500, "setting_invalid")
    assert "AzureWebJobsStorage" in refused.json()["detail"]
    assert chat.json()["status"] == "completed"


def test_with_the_storage_away_nothing_is_accepted(stack_of: StackFactory) -> None:
    with stack_of() as stack:
        stack.stop_part(STORAGE)
        refused = post(stack, {"message": "x"}, **{"Idempotency-Key": "k"})
        assert HOST in stack.pids
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unreachable")
    assert int(refused.headers["Retry-After"]) > 0
    assert "127.0.0.1" not in refused.text

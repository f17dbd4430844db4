"""Queue and timer functions in a host that is a process of its own, on a real Azurite."""

from __future__ import annotations

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from local.azurite import connection_string
from tests.local.functions_host.hosting import SECONDS, Host
from tests.local.functions_host.queues import Queue

SOURCE = """
import json, os, sys, threading, time

def tell(*what):
    # In one piece: threads and the log write here too.
    sys.stderr.write("told " + json.dumps(what) + "\\n")

@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="AzureWebJobsStorage")
def queued(msg: func.QueueMessage, context: func.Context) -> None:
    times = [str(time) for time in (msg.insertion_time, msg.expiration_time, msg.time_next_visible)]
    tell(msg.get_body().decode(), msg.dequeue_count, msg.id, times, bool(msg.pop_receipt), context.function_name)
    if msg.get_body() == b"fail":
        raise ValueError("the reason")
    if msg.get_body() == b"hang":
        time.sleep(3600)

@app.queue_trigger(arg_name="msg", queue_name="%QUEUE%-async", connection="AzureWebJobsStorage")
async def queued_async(msg: func.QueueMessage) -> None:
    tell("async", msg.get_json())

@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=True)
def tick(timer: func.TimerRequest) -> None:
    tell("tick", timer.past_due)

@app.route()
def hold(req: func.HttpRequest) -> str: time.sleep(3600)

@app.route()
def hello(req: func.HttpRequest) -> str: return "hello"
"""


def told(host: Host) -> Any:
    """What a function says next."""
    for line in host.log_lines():
        if line.startswith("told "):
            return json.loads(line[5:])
    raise AssertionError("the host ended")


def logged(host: Host, words: str) -> str:
    """The next line of the host's log that has these words."""
    for line in host.log_lines():
        if words in line:
            return str(line)
    raise AssertionError(f"the host ended without {words!r}")


@pytest.fixture
def queue(azurite: str) -> Queue:
    return Queue(azurite)


def run(start: Any, queue: Queue, *options: str, **more: Any) -> Host:
    variables = {"AzureWebJobsStorage": queue.connection, "QUEUE": queue.name, **more.pop("variables", {})}
    host: Host = start("--port", "0", *options, source=SOURCE, **variables, **more)
    return host


def test_queue_and_timer_functions_run(start: Any, queue: Queue) -> None:
    queue.put("first")
    Queue(queue.connection, f"{queue.name}-async").put('{"a": 1}')
    host = run(start, queue)
    host.ready()
    seen = sorted((told(host) for _ in range(3)), key=str)
    assert [row[0] for row in seen] == ["async", "first", "tick"]
    assert seen[0] == ["async", {"a": 1}]
    text, count, identifier, times, has_receipt, function = seen[1]
    assert (text, count, has_receipt, function) == ("first", 1, True, "queued")
    assert len(identifier) == 36
    assert all(time.endswith("+00:00") for time in times)
    assert seen[2] == ["tick", False]
    _, log = host.end()
    assert "Traceback" not in log
    assert "AccountKey" not in log


def test_failure_goes_to_the_poison_queue_with_its_reason_in_the_log(start: Any, queue: Queue) -> None:
    queue.put("fail")
    host = run(start, queue, files={"host.json": host_json(maxDequeueCount=2)})
    host.ready()
    logged(host, "ValueError: the reason")
    logged(host, "ValueError: the reason")
    logged(host, f"Moving it to queue '{queue.name}-poison'")
    host.end()
    assert (queue.count, queue.poison) == (0, ["ZmFpbA=="])


def test_function_that_takes_too_long_has_failed(start: Any, queue: Queue) -> None:
    queue.put("hang")
    settings = host_json(maxDequeueCount=1, timeout="00:00:01")
    host = run(start, queue, files={"host.json": settings})
    host.ready()
    logged(host, "Timeout value of 1 s exceeded")
    logged(host, "Moving it to queue")
    host.end()
    assert len(queue.poison) == 1


def test_message_of_a_killed_host_comes_again_when_its_lease_is_over(start: Any, queue: Queue) -> None:
    first = run(start, queue, "--message-lease", "2")
    first.ready()
    queue.put("hang")
    assert next_of(first, "hang")[1] == 1
    first.process.send_signal(signal.SIGKILL)
    second = run(start, queue)
    second.ready()
    assert next_of(second, "hang")[1] == 2


def test_stopped_host_gives_its_message_to_the_next_at_once(start: Any, queue: Queue) -> None:
    first = run(start, queue)
    first.ready()
    queue.put("hang")
    assert next_of(first, "hang")[1] == 1
    first.end()
    assert first.process.returncode == 0
    second = run(start, queue)
    second.ready()
    assert next_of(second, "hang")[1] == 2


def test_host_that_is_told_to_stop_takes_no_more_messages(start: Any, queue: Queue) -> None:
    host = run(start, queue)
    url = httpx.URL(host.ready()["url"])
    with ThreadPoolExecutor(1) as threads, suppress(httpx.HTTPError):
        request = threads.submit(httpx.get, url.join("/api/hold"), timeout=SECONDS)
        logged(host, "Executing 'Functions.hold'")
        host.process.terminate()
        deadline = time.monotonic() + SECONDS
        # The request keeps it for three seconds; new connections it takes no more.
        while is_open(url):
            assert time.monotonic() < deadline
        queue.put("too late")
        request.result(SECONDS)
    host.end()
    message = queue.client.receive_message()
    assert message is not None
    assert message.dequeue_count == 1


def test_http_functions_go_on_without_storage(start: Any, azurite: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        away = connection_string(free.getsockname()[1])
    host = run(start, Queue(azurite), variables={"AzureWebJobsStorage": away})
    url = host.ready()["url"]
    logged(host, "cannot be read")
    assert httpx.get(f"{url}/api/hello").text == "hello"
    _, log = host.end()
    assert log.count("cannot be read") <= 1


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AzureWebJobsStorage": ""}, "the setting AzureWebJobsStorage is missing"),
        ({"AzureWebJobsStorage": "secret nonsense"}, "the setting AzureWebJobsStorage is no usable connection string"),
        ({"QUEUE": ""}, "'%QUEUE%' does not resolve to a value"),
        ({"QUEUE": "UPPER_CASE"}, "'upper_case' is no queue name"),
    ],
)
def test_queue_function_that_cannot_run_is_listed_with_the_reason(
    start: Any, queue: Queue, variables: dict[str, str], reason: str
) -> None:
    host = run(start, queue, variables=variables)
    url = host.ready()["url"]
    assert f"Function queued does not run: {reason}" in logged(host, "Function queued does not run")
    assert told(host) == ["tick", False]
    assert httpx.get(f"{url}/api/hello").text == "hello"
    assert "secret" not in host.end()[1]


def test_http_only_leaves_queues_alone(start: Any, queue: Queue) -> None:
    queue.put("not for this one")
    host = run(start, queue, "--http-only")
    assert httpx.get(f"{host.ready()['url']}/api/hello").text == "hello"
    _, log = host.end()
    assert "Function queued does not run: only HTTP functions are wanted" in log
    assert "told" not in log
    message = queue.client.receive_message()
    assert message is not None
    assert message.dequeue_count == 1


def test_disabled_function_gets_no_messages(start: Any, queue: Queue) -> None:
    queue.put("not for this one")
    Queue(queue.connection, f"{queue.name}-async").put("1")
    host = run(start, queue, variables={"AzureWebJobs_queued_Disabled": "true"})
    host.ready()
    assert [told(host), told(host)] in ([["tick", False], ["async", 1]], [["async", 1], ["tick", False]])
    host.end()
    assert queue.count == 1


def test_functions_are_called_by_hand(start: Any, queue: Queue) -> None:
    host = run(start, queue, "--enable-auth")
    ready = host.ready()
    assert told(host) == ["tick", False]
    address = f"{ready['url']}/admin/functions"
    key = {"x-functions-key": ready["key"]}
    assert httpx.post(f"{address}/queued", json={"input": "by hand"}).status_code == 401
    accepted = httpx.post(f"{address}/Queued", json={"input": "by hand"}, headers=key)
    assert (accepted.status_code, accepted.content) == (202, b"")
    assert told(host)[:2] == ["by hand", 0]
    assert httpx.post(f"{address}/tick", json={}, headers=key).status_code == 202
    assert told(host) == ["tick", False]
    for name, body, status in [
        ("nothing", b"{}", 404),
        ("hello", b"{}", 400),
        ("queued", b"{", 400),
        ("queued", b"[]", 400),
        ("queued", b'{"input": 3}', 400),
    ]:
        assert httpx.post(f"{address}/{name}", content=body, headers=key).status_code == status


def is_open(url: httpx.URL) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((url.host, url.port)) == 0


def next_of(host: Host, text: str) -> Any:
    """What the function says of the next message with this text."""
    while (row := told(host))[0] != text:
        pass
    return row


def host_json(*, timeout: str = "00:10:00", **queues: Any) -> str:
    return json.dumps({"version": "2.0", "functionTimeout": timeout, "extensions": {"queues": queues}})

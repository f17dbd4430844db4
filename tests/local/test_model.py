"""The stand-in model's protocol: OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI
from starlette.applications import Starlette

from local.model import BODY_BYTES_MAX, COMPLETION_PATHS, create_app
from local.model_tasks import DISCLAIMER

ROOT = Path(__file__).parents[2]
PATH = "/v1/chat/completions"
TASK = [{"role": "user", "content": "What is 6 * 7?"}]


class Client:
    """Requests to an app in this process."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def session(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://testserver")

    def get(self, path: str) -> httpx.Response:
        return self._send("GET", path)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self._send("POST", path, **content)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with self.session() as session:
                return await session.request(method, path, **content)

        return asyncio.run(send())


CLIENT = Client(create_app())


def content(client: Client, messages: list[dict[str, Any]]) -> str:
    reply = client.post(PATH, json={"model": "m", "messages": messages})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("path", COMPLETION_PATHS)
def test_every_path_answers(path: str) -> None:
    reply = CLIENT.post(path.format(deployment="mine"), json={"model": "mine", "messages": TASK})
    body = reply.json()
    assert (reply.status_code, body["object"], body["model"]) == (200, "chat.completion", "mine")
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"][0]["finish_reason"] == "stop"
    assert "print(6 * 7)" in body["choices"][0]["message"]["content"]


def test_usage_adds_up_and_grows_with_the_messages() -> None:
    small, large = (
        CLIENT.post(PATH, json={"messages": [{"role": "user", "content": text}]}).json()["usage"]
        for text in ("a" * 400, "a" * 4000)
    )
    assert (small["prompt_tokens"], large["prompt_tokens"]) == (100, 1000)
    assert small["completion_tokens"] > 0
    assert small["total_tokens"] == small["prompt_tokens"] + small["completion_tokens"]


def test_openai_client_reads_it() -> None:
    async def ask() -> tuple[str, list[str]]:
        session = Client(create_app()).session()
        async with AsyncOpenAI(base_url="http://testserver/v1", api_key="any", http_client=session) as client:
            models = [model.id async for model in client.models.list()]
            answer = await client.chat.completions.create(
                model="stand-in", messages=[{"role": "user", "content": "Hello"}]
            )
            return answer.choices[0].message.content or "", models

    text, models = asyncio.run(ask())
    assert models == ["stand-in"]
    assert DISCLAIMER in text
    assert text.endswith("\nTERMINATE")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "1",
        "[" * 100_000,
        "{}",
        '{"messages": []}',
        '{"messages": "x"}',
        '{"messages": [1]}',
        '{"messages": [{"role": "user", "content": "x"}], "stream": true}',
    ],
)
def test_bad_request(body: str) -> None:
    reply = CLIENT.post(PATH, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert reply.json()["error"]["message"]


def test_invalid_utf8_is_a_bad_request() -> None:
    assert CLIENT.post(PATH, content=b'{"messages": [{"role": "user", "content": "\xff"}]}').status_code == 400


def test_too_large_request() -> None:
    reply = CLIENT.post(PATH, content=b" " * (BODY_BYTES_MAX + 1))
    assert reply.status_code == 413
    assert "4 MB" in reply.json()["error"]["message"]


def test_wrong_method_and_path() -> None:
    assert CLIENT.get(PATH).status_code == 405
    assert CLIENT.post("/v2/chat/completions", json={"messages": TASK}).status_code == 404


def test_script_answers_by_turn_and_repeats_its_end() -> None:
    error = {"status": 429, "headers": {"retry-after": "7"}, "body": {"error": {"message": "slow down"}}}
    client = Client(create_app(script=["first", {"content": "second", "latency": 0}, error]))
    said = {"role": "assistant", "content": "x"}
    assert content(client, TASK) == "first"
    assert content(client, [*TASK, said, *TASK]) == "second"
    assert content(client, TASK) == "first"
    for turns in (2, 5):
        reply = client.post(PATH, json={"messages": [*TASK, *[said] * turns]})
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
        assert reply.json() == error["body"]


def test_latency_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("local.model.asyncio.sleep", sleep)
    client = Client(create_app(latency_seconds=2.5, script=["a", {"content": "b", "latency": 0.5}]))
    content(client, TASK)
    content(client, [*TASK, {"role": "assistant", "content": "a"}])
    assert waited == [2.5, 0.5]


@settings(deadline=None)
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_text_is_answered(text: str, model: str) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": f"run: {text}"}]})
    reply = CLIENT.post(PATH, content=body)
    assert reply.status_code == 200
    assert reply.json()["model"] == model


def test_part_starts_and_announces_its_settings(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('["hello"]', "utf-8")
    command = [sys.executable, "-m", "local.model", "--port", "0", "--script", str(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
        finally:
            process.kill()
    assert ready["env"]["OPENAI_BASE_URL"] == f"{ready['url']}/v1"


@pytest.mark.parametrize("script", ["[]", "{}"])
def test_part_refuses_an_empty_script(tmp_path: Path, script: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(script, "utf-8")
    command = [sys.executable, "-m", "local.model", "--script", str(path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "at least one reply" in ran.stderr

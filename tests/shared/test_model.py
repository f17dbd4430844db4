"""Which model is chosen, and how its calls are bounded."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken

from shared.chat import ChatTask, run_chat
from shared.deadline import Deadline
from shared.errors import DeadlineReached, ModelRefused, ModelUnreachable, SettingError
from shared.identity import BearerTokens
from shared.model import ChatHttpClient, choose, llm_config, model_error
from shared.settings import Settings
from tests.scripted_server import Answer, Received, scripted_server

TUTORIAL = json.dumps(
    [
        {
            "model": "gpt-4",
            "api_key": "k",
            "api_type": "azure",
            "base_url": "https://x",
            "api_version": "2023-12-01-preview",
        }
    ]
)


def test_the_first_that_is_set_wins() -> None:
    everything = Settings(
        oai_config_list=TUTORIAL,
        azure_openai_endpoint="https://r.openai.azure.com/",
        azure_openai_deployment="gpt-4.1-mini",
        openai_api_key="sk",
        openai_model="gpt-4o",
    )
    assert choose(everything).entries[0]["model"] == "gpt-4"
    assert choose(everything).setting == "OAI_CONFIG_LIST"
    azure = choose(dataclasses.replace(everything, oai_config_list=""))
    assert azure.uses_identity
    assert azure.setting == "AZURE_OPENAI_ENDPOINT"
    assert azure.entries[0]["model"] == "gpt-4.1-mini"
    assert azure.entries[0]["base_url"] == "https://r.openai.azure.com/openai/v1/"
    plain = choose(Settings(openai_base_url="http://localhost:11434/v1", openai_model="llama3"))
    assert choose(Settings(openai_api_key="sk", openai_model="m")).setting == "OPENAI_API_KEY"
    assert plain.setting == "OPENAI_BASE_URL"
    assert plain.entries[0] == {"model": "llama3", "api_key": "none", "base_url": "http://localhost:11434/v1"}


def test_each_entry_has_its_provider() -> None:
    azure, openai = json.loads(TUTORIAL)[0], {"model": "m", "api_key": "k"}
    v1 = {**openai, "base_url": "https://r.services.ai.azure.com/openai/v1/"}
    other = {**openai, "base_url": "http://localhost:11434/v1"}
    choice = choose(Settings(oai_config_list=json.dumps([openai, azure, v1, other])))
    assert choice.providers == ("openai", "azure.ai.openai", "azure.ai.openai", "openai")


def test_a_list_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(TUTORIAL, "utf-8")
    assert choose(Settings(oai_config_list=str(path))).entries[0]["model"] == "gpt-4"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Settings(), "AZURE_OPENAI_ENDPOINT"),
        (Settings(oai_config_list="[]"), "OAI_CONFIG_LIST"),
        (Settings(oai_config_list="[{}]"), "OAI_CONFIG_LIST"),
        (Settings(oai_config_list="[{"), "OAI_CONFIG_LIST"),
        (Settings(oai_config_list="no-such-file"), "OAI_CONFIG_LIST"),
        (Settings(azure_openai_endpoint="https://r"), "AZURE_OPENAI_DEPLOYMENT"),
        (Settings(azure_openai_endpoint="http://r.example", azure_openai_deployment="d"), "AZURE_OPENAI_ENDPOINT"),
        (Settings(openai_api_key="k"), "OPENAI_MODEL"),
    ],
)
def test_an_incomplete_choice_names_its_setting(settings: Settings, name: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        choose(settings)
    assert caught.value.name == name


def listed(**entry: Any) -> Settings:
    return Settings(oai_config_list=json.dumps([{"model": "m", **entry}]))


def served(base_url: str, key: str = "") -> Settings:
    return Settings(openai_base_url=base_url, openai_api_key=key, openai_model="m")


def in_azure(endpoint: str = "https://r", key: str = "") -> Settings:
    return Settings(azure_openai_endpoint=endpoint, azure_openai_deployment="d", azure_openai_api_key=key)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (in_azure("https://[x"), "AZURE_OPENAI_ENDPOINT"),
        (in_azure("https://host:port/x"), "AZURE_OPENAI_ENDPOINT"),
        (in_azure(key="k\u00e9y"), "AZURE_OPENAI_API_KEY"),
        (served("http://[x"), "OPENAI_BASE_URL"),
        (served("localhost:11434/v1"), "OPENAI_BASE_URL"),
        (served("host/v1"), "OPENAI_BASE_URL"),
        (served("http://host.example/v1", "secret"), "OPENAI_BASE_URL"),
        (served("https://host.example/v1", "k\u00e9y"), "OPENAI_API_KEY"),
        (served("https://host.example/v1", "k\ney"), "OPENAI_API_KEY"),
        (listed(api_key="k\u00e9y"), "OAI_CONFIG_LIST"),
        (listed(base_url="localhost:11434/v1"), "OAI_CONFIG_LIST"),
    ],
)
def test_a_malformed_address_or_key_names_its_setting_and_is_not_shown(settings: Settings, name: str) -> None:
    with pytest.raises(SettingError, match=name) as caught:
        choose(settings)
    assert caught.value.name == name
    assert name in caught.value.detail
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "settings",
    [
        served("http://host.example:8000/v1"),
        served("http://localhost:11434/v1", "key"),
        served("https://host.example/v1", "key"),
        listed(base_url="http://host.example:1234/v1", api_key="lm-studio"),
        listed(api_type="azure", base_url=None),
    ],
)
def test_a_key_goes_by_https_or_stays_on_this_machine(settings: Settings) -> None:
    assert choose(settings).entries[0]["model"] == "m"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(oai_config_list=TUTORIAL),
        Settings(azure_openai_endpoint="https://r", azure_openai_deployment="gpt-4.1-mini"),
        Settings(openai_api_key="k", openai_model="gpt-4o"),
    ],
)
def test_autogen_accepts_every_configuration(settings: Settings) -> None:
    from autogen import ConversableAgent

    config = llm_config(settings, Deadline.after(30))
    agent = ConversableAgent("CodeWriter", llm_config=config, human_input_mode="NEVER")
    assert agent.llm_config["timeout"] in (30, 31)


class HangingCredential:
    def __init__(self) -> None:
        self.let = threading.Event()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        assert self.let.wait(10)
        return AccessToken("late", 9_999_999_999)


class Credential:
    count = 0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.count += 1
        return AccessToken(f"token-{self.count}", 9_999_999_999)


@pytest.fixture
def process_client() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def client(
    process: httpx.Client, seconds: float = 30, tokens: BearerTokens | None = None, sleeps: list[float] | None = None
) -> ChatHttpClient:
    waits = sleeps if sleeps is not None else []
    return ChatHttpClient(process, Deadline.after(seconds), tokens, waits.append)


def test_the_identity_signs_and_renews_a_refused_token(process_client: httpx.Client) -> None:
    tokens = BearerTokens("scope", credential=Credential())

    def answer(number: int, request: Received) -> Answer:
        return Answer(401 if number == 0 else 200)

    with scripted_server(answer) as server:
        response = client(process_client, tokens=tokens).post(server.url, headers={"api-key": "placeholder"}, json={})
    assert response.status_code == 200
    assert [request.headers["authorization"] for request in server.received] == ["Bearer token-1", "Bearer token-2"]
    assert all("api-key" not in request.headers for request in server.received)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(silent=True),
        Answer(body=b" " * 1000, drip_seconds=0.05),
        Answer(body=b" " * 1000, drip_seconds=0.05, unsized=True),
        Answer(headers={"Content-Length": "100"}),
    ],
    ids=["no answer", "a body that drips", "a body that drips until the connection ends", "a body that stops"],
)
def test_the_deadline_bounds_every_wait(process_client: httpx.Client, answer: Answer) -> None:
    began = time.monotonic()
    with scripted_server(lambda number, _: answer) as server, pytest.raises(DeadlineReached):
        client(process_client, seconds=0.3).post(server.url)
    assert time.monotonic() - began < 5
    assert len(server.received) == 1


class StuckTransport(httpx.BaseTransport, httpx.SyncByteStream):
    """Reads for as long as its connection is open, whatever the timeout of a read: a byte came just before."""

    def __init__(self) -> None:
        self.shut = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=self, extensions={"network_stream": self})

    def __iter__(self) -> Iterator[bytes]:
        yield b" "
        self.shut.wait(10)

    def get_extra_info(self, info: str) -> StuckTransport:
        assert info == "socket"
        return self

    def shutdown(self, how: int) -> None:
        self.shut.set()


def test_a_read_that_begins_before_the_deadline_does_not_outlast_it() -> None:
    stuck = StuckTransport()
    with httpx.Client(transport=stuck) as process, pytest.raises(DeadlineReached):
        client(process, seconds=0.1).post("http://model.example")
    assert stuck.shut.is_set()


def test_a_hanging_identity_is_bounded_too(process_client: httpx.Client) -> None:
    with scripted_server(lambda number, _: Answer()) as server:
        credential = HangingCredential()
        tokens = BearerTokens("scope", credential=credential)
        with pytest.raises(DeadlineReached):
            client(process_client, seconds=0.1, tokens=tokens).post(server.url)
        credential.let.set()
    assert server.received == []


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_an_answer_arrives_as_it_was_sent(process_client: httpx.Client, headers: dict[str, str]) -> None:
    sent = b'{"answer": 42}'
    body = gzip.compress(sent) if headers else sent
    with scripted_server(lambda number, _: Answer(body=body, headers=headers)) as server:
        response = client(process_client).post(server.url)
    assert response.json() == {"answer": 42}
    assert response.headers["content-type"] == "application/json"


def test_a_lost_connection_is_tried_again(process_client: httpx.Client) -> None:
    sleeps: list[float] = []
    with scripted_server(lambda number, _: Answer(hang_up=number < 2)) as server:
        assert client(process_client, sleeps=sleeps).post(server.url).status_code == 200
    assert sleeps == [0.5, 1]


def test_it_is_given_up_after_four_attempts_or_where_no_time_is_left(process_client: httpx.Client) -> None:
    sleeps: list[float] = []
    with scripted_server(lambda number, _: Answer(hang_up=True)) as server:
        with pytest.raises(httpx.TransportError):
            client(process_client, sleeps=sleeps).post(server.url)
        assert sleeps == [0.5, 1, 2]
        with pytest.raises(httpx.TransportError):
            client(process_client, seconds=0.4, sleeps=sleeps).post(server.url)
    assert len(server.received) == 5


def test_a_busy_model_is_asked_again_when_it_says(process_client: httpx.Client) -> None:
    sleeps: list[float] = []
    busy = Answer(429, headers={"Retry-After": "2"})
    with scripted_server(lambda number, _: busy if number == 0 else Answer()) as server:
        assert client(process_client, sleeps=sleeps).post(server.url).status_code == 200
    assert sleeps == [2]


def test_it_is_not_waited_for_beyond_the_deadline(process_client: httpx.Client) -> None:
    sleeps: list[float] = []
    busy = Answer(429, headers={"Retry-After": "60"})
    with scripted_server(lambda number, _: busy) as server:
        response = client(process_client, seconds=5, sleeps=sleeps).post(server.url)
    assert (response.status_code, sleeps) == (429, [])
    assert response.headers["x-should-retry"] == "false"


def test_after_the_deadline_nothing_is_sent(process_client: httpx.Client) -> None:
    with scripted_server(lambda number, _: Answer()) as server, pytest.raises(DeadlineReached):
        client(process_client, seconds=0).post(server.url)
    assert server.received == []


def test_copies_of_the_configuration_share_the_client(process_client: httpx.Client) -> None:
    own = client(process_client)
    assert copy.deepcopy({"http_client": own})["http_client"] is own


def test_a_lost_connection_is_the_models_fault_and_a_bug_is_not() -> None:
    assert isinstance(model_error(TimeoutError()), ModelUnreachable)
    assert model_error(ZeroDivisionError()) is None


def test_our_own_errors_are_found_below_the_librarys() -> None:
    import openai

    wrapped = openai.APIConnectionError(request=httpx.Request("POST", "http://127.0.0.1"))
    wrapped.__cause__ = SettingError("NAME", "detail")
    assert model_error(wrapped) is wrapped.__cause__


def chat_with(url: str) -> str:
    settings = Settings(
        pool_management_endpoint="http://127.0.0.1:9/pool", openai_base_url=f"{url}/v1", openai_model="m"
    )
    return run_chat(ChatTask("Say hello"), settings, Deadline.after(30)).result


COMPLETION = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello.\n\nTERMINATE"}}
        ],
    }
).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in</html>",
        b"",
        b"null",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"object": "error", "message": "no"}',
        b'{"error": {"message": "no"}}',
        COMPLETION[:-9],
    ],
)
def test_what_answers_without_a_completion_is_refused_and_its_address_settings_named(body: bytes) -> None:
    with scripted_server(lambda number, _: Answer(body=body)) as server, pytest.raises(ModelRefused) as caught:
        chat_with(server.url)
    assert len(server.received) == 1
    for name in ("AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OAI_CONFIG_LIST"):
        assert name in caught.value.detail


def test_a_chat_outlives_a_lost_connection() -> None:
    def answer(number: int, request: Received) -> Answer:
        return Answer(body=COMPLETION, hang_up=number == 0)

    with scripted_server(answer) as server:
        assert chat_with(server.url) == "Hello."
    assert len(server.received) == 2


def test_an_answer_in_events_is_no_nonsense(process_client: httpx.Client) -> None:
    events = Answer(body=b"data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})
    with scripted_server(lambda number, _: events) as server:
        response = client(process_client).post(f"{server.url}/v1/chat/completions")
    assert response.text == "data: [DONE]\n\n"

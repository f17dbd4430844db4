"""Which model is chosen, and how its calls are bounded."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken

from shared.deadline import Deadline
from shared.errors import DeadlineReached, ModelUnreachable, SettingError
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
    azure = choose(dataclasses.replace(everything, oai_config_list=""))
    assert azure.uses_identity
    assert azure.entries[0]["model"] == "gpt-4.1-mini"
    assert azure.entries[0]["base_url"] == "https://r.openai.azure.com/openai/v1/"
    plain = choose(Settings(openai_base_url="http://localhost:11434/v1", openai_model="llama3"))
    assert plain.entries[0] == {"model": "llama3", "api_key": "none", "base_url": "http://localhost:11434/v1"}


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
    with pytest.raises(SettingError) as caught:
        choose(settings)
    assert caught.value.name == name


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

"""The app settings in Bicep and the table of shared/settings.py know the same names; defaults are the table's alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shared.settings import Settings, table
from tests.infra.bicep import INFRA, Infrastructure

REAL = Infrastructure.of_project()
APP = "modules/function-app.bicep"

# Settings of the app that a deployment leaves alone, and why.
LEFT_OUT = {
    "OAI_CONFIG_LIST": "the model is Azure OpenAI, by identity; this would win over it",
    "AZURE_OPENAI_API_KEY": "the identity signs; the resource accepts no key",
    "OPENAI_BASE_URL": "the model is Azure OpenAI",
    "OPENAI_API_KEY": "the model is Azure OpenAI",
    "OPENAI_MODEL": "the model is Azure OpenAI",
    "AzureWebJobsStorage": "a connection string, which would win over the identity",
    "AzureWebJobsStorage__accountName": "the services' addresses are given instead, which hold in every cloud",
    "WEBSITE_AUTH_ENABLED": "set by App Service itself",
}
# App settings that are not the app's own, and whose they are.
OF_THE_HOST = {
    "AzureWebJobsStorage__credential": "the host's: sign with a managed identity",
    "PYTHON_ENABLE_OPENTELEMETRY": "the Python worker's: the app sends its logs itself, so that the host need not",
    "PYTHON_THREADPOOL_THREAD_COUNT": "the Python worker's: how many chats and runs at once",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the host's: it sends telemetry with the identity",
}


def decided(infra: Infrastructure) -> dict[str, Any]:
    """The settings that the deployment itself decides."""
    content: dict[str, Any] = infra.files[APP].declared("variables")["decidedSettings"]["value"]
    return content


def offered() -> dict[str, str]:
    """The settings that `azd env set` reaches, with their values in the parameters file."""
    file = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))
    content: dict[str, str] = file["parameters"]["appSettings"]["value"]
    return content


def differences(bicep: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    """Where the deployment and the app's own table do not agree."""
    rows = {row.name: row for row in table()}
    set_names = bicep.keys() | parameters.keys()
    yield from (f"{name} is not set, and nobody says why" for name in rows.keys() - set_names - LEFT_OUT.keys())
    yield from (f"{name} is set; the app does not know it" for name in set_names - rows.keys() - OF_THE_HOST.keys())
    yield from (f"{name} is set, although it is to be left out" for name in set_names & LEFT_OUT.keys())
    yield from (f"{name} is decided and offered" for name in bicep.keys() & parameters.keys())
    for name, given in parameters.items():
        wanted = f"${{{name}}}"
        if given != wanted:
            yield f"{name} is {given}, and should be {wanted}"


def test_deployment_and_table_agree() -> None:
    assert list(differences(decided(REAL), offered())) == []


def test_exceptions_are_about_settings_that_exist() -> None:
    assert LEFT_OUT.keys() <= {row.name for row in table()}
    assert OF_THE_HOST.keys() <= decided(REAL).keys()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  AZURE_CLIENT_ID: identityClientId\n", "", "AZURE_CLIENT_ID is not set, and nobody says why"),
        ("POOL_MANAGEMENT_ENDPOINT:", "POOL_ENDPOINT:", "POOL_ENDPOINT is set; the app does not know it"),
        ("AzureWebJobsStorage__credential:", "AzureWebJobsStorage:", "AzureWebJobsStorage is set, although"),
        ("RUN_QUEUE_NAME:", "CHAT_MAX_TURNS:", "CHAT_MAX_TURNS is decided and offered"),
    ],
)
def test_a_difference_in_bicep_is_told(old: str, new: str, told: str) -> None:
    problems = list(differences(decided(REAL.changed(APP, old, new)), offered()))
    assert any(told in problem for problem in problems), problems


def test_a_second_default_is_told() -> None:
    parameters = {**offered(), "CHAT_MAX_TURNS": "${CHAT_MAX_TURNS=10}"}
    assert list(differences(decided(REAL), parameters)) == [
        "CHAT_MAX_TURNS is ${CHAT_MAX_TURNS=10}, and should be ${CHAT_MAX_TURNS}"
    ]


def test_what_is_not_chosen_has_the_apps_own_default() -> None:
    # A variable that is not set arrives as an empty app setting.
    assert Settings.from_environment(dict.fromkeys(offered(), "")) == Settings()


def test_a_deployment_decides_over_what_is_offered() -> None:
    assert re.search(r"properties: union\(appSettings, decidedSettings\)", REAL.files[APP].text)

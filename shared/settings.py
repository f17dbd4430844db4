"""Every setting once: its name, default, meaning and example.

A setting's name in the environment is the field's name in upper case, or the one that the Functions runtime
has given it. `docs/settings.md` is generated from this table (`python -m shared.settings`) and a test compares
the two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from typing import Any, NamedTuple

from shared.errors import SettingError
from shared.session_wire import DEFAULT_API_VERSION, EXECUTION_SECONDS_MAX

# With its files fetched and its callback made, such a run ends within the function timeout of host.json.
RUN_SECONDS_MAX = 3400


def _setting(
    default: str | int,
    meaning: str,
    example: str,
    *,
    bounds: tuple[int, int] | None = None,
    secret: bool = False,
    name: str = "",
) -> Any:
    row = {"meaning": meaning, "example": example, "bounds": bounds, "name": name}
    return field(default=default, repr=not secret, metadata=row)


@dataclass(frozen=True)
class Settings:
    """The application's settings, read once and never changed."""

    pool_management_endpoint: str = _setting(
        "",
        "Required. Management endpoint of the session pool, or of several with commas between them (docs/scale.md).",
        "https://<region>.dynamicsessions.io/subscriptions/<id>/resourceGroups/<group>/sessionPools/<pool>",
    )
    session_pool_api_version: str = _setting(
        DEFAULT_API_VERSION,
        "API version of the session pool, 2024-10-02-preview or later.",
        "2025-02-02-preview",
    )
    azure_client_id: str = _setting(
        "", "Client id of a user-assigned identity. Empty: the system-assigned one.", "<client id>"
    )
    oai_config_list: str = _setting(
        "",
        "Model, first choice: AutoGen's list of model configurations, as JSON or as the path of a JSON file.",
        '[{"model": "gpt-4o", "api_key": "<key>"}]',
        secret=True,
    )
    azure_openai_endpoint: str = _setting(
        "", "Model, second choice: endpoint of an Azure OpenAI resource.", "https://<name>.openai.azure.com"
    )
    azure_openai_deployment: str = _setting("", "Name of the deployment at that endpoint.", "gpt-4.1-mini")
    azure_openai_api_key: str = _setting(
        "", "Key of that resource. Empty: the app's identity, which is better.", "<key>", secret=True
    )
    openai_base_url: str = _setting(
        "",
        "Model, third choice: any server that speaks OpenAI's chat completions; http too where no key is set.",
        "http://localhost:11434/v1",
    )
    openai_api_key: str = _setting(
        "",
        "Key for OPENAI_BASE_URL, which then has to be https or on this machine, or for api.openai.com.",
        "<key>",
        secret=True,
    )
    openai_model: str = _setting("", "Name of the model there.", "gpt-4o")
    chat_deadline_seconds: int = _setting(
        200,
        "Time for one chat; a caller may ask for less. Azure cuts a response at 230 s.",
        "100",
        bounds=(1, 225),
    )
    chat_max_turns: int = _setting(
        10, "Turns of one chat unless the caller asks for another number.", "6", bounds=(1, 50)
    )
    chat_max_message_characters: int = _setting(32_000, "Longest message accepted.", "8000", bounds=(1, 1_000_000))
    chat_max_files: int = _setting(10, "Most files that a request may bring.", "3", bounds=(0, 100))
    chat_max_file_bytes: int = _setting(
        20_000_000, "Most bytes of all files of a request together.", "5000000", bounds=(0, 70_000_000)
    )
    chat_max_pictures: int = _setting(8, "Most pictures that a reply brings.", "2", bounds=(0, 100))
    chat_max_picture_bytes: int = _setting(
        8_000_000, "Most bytes of all pictures of a reply together.", "2000000", bounds=(0, 70_000_000)
    )
    chat_max_inline_file_bytes: int = _setting(
        1_000_000, "Most bytes of files, pictures aside, whose content a reply brings.", "0", bounds=(0, 70_000_000)
    )
    execution_timeout_seconds: int = _setting(
        120,
        f"Longest execution of one block of code; the service stops at {EXECUTION_SECONDS_MAX} s.",
        "60",
        bounds=(1, EXECUTION_SECONDS_MAX),
    )
    output_max_characters: int = _setting(
        20_000,
        "Most characters of one message's output, all its blocks together, that the model reads.",
        "8000",
        bounds=(500, 200_000),
    )
    run_deadline_seconds: int = _setting(
        1200,
        "Time for one run unless the caller asks for another.",
        "600",
        bounds=(1, RUN_SECONDS_MAX),
    )
    run_max_deadline_seconds: int = _setting(
        RUN_SECONDS_MAX,
        "Longest time that a caller may ask for; 200 s below the function timeout of host.json at least.",
        "400",
        bounds=(1, RUN_SECONDS_MAX),
    )
    run_max_tokens: int = _setting(
        200_000,
        "Most tokens of all model calls of a run together; a caller may ask for less.",
        "50000",
        bounds=(1, 100_000_000),
    )
    run_retention_days: int = _setting(7, "Days after which an ended run is deleted.", "30", bounds=(1, 365))
    run_queue_name: str = _setting("runs", "Name of the storage queue that runs wait in.", "runs-test")
    callback_hosts: str = _setting(
        ".logic.azure.com",
        "Where callbacks may go: hosts, or suffixes that begin with a dot, with commas between them.",
        ".logic.azure.com,.api.powerplatform.com",
    )
    callback_secret: str = _setting(
        "",
        "Signs callbacks by the scheme of Standard Webhooks. Empty: they are not signed.",
        "whsec_<24 to 64 bytes as base64>",
        secret=True,
    )
    public_url: str = _setting(
        "",
        "How this app is reached from outside, for the addresses of runs. Empty: by the name that Azure gave it.",
        "https://agents.example.com",
    )
    storage_connection: str = _setting(
        "",
        "Storage account for runs: a connection string, or `UseDevelopmentStorage=true` for Azurite.",
        "UseDevelopmentStorage=true",
        secret=True,
        name="AzureWebJobsStorage",
    )
    storage_account: str = _setting(
        "",
        "Instead of that, and better: the account's name in the public cloud, reached with the app's identity.",
        "<account>",
        name="AzureWebJobsStorage__accountName",
    )
    storage_blob_uri: str = _setting(
        "",
        "Instead of the name: the account's blob service.",
        "https://<account>.blob.core.windows.net",
        name="AzureWebJobsStorage__blobServiceUri",
    )
    storage_queue_uri: str = _setting(
        "",
        "Instead of the name: the account's queue service.",
        "https://<account>.queue.core.windows.net",
        name="AzureWebJobsStorage__queueServiceUri",
    )
    storage_client_id: str = _setting(
        "",
        "Client id of a user-assigned identity for the storage account. Empty: that of `AZURE_CLIENT_ID`.",
        "<client id>",
        name="AzureWebJobsStorage__clientId",
    )
    telemetry_connection: str = _setting(
        "",
        "Connection string of an Application Insights resource (docs/operate.md). Empty: nothing is measured.",
        "InstrumentationKey=<key>;IngestionEndpoint=https://<region>.in.applicationinsights.azure.com/",
        secret=True,
        name="APPLICATIONINSIGHTS_CONNECTION_STRING",
    )
    telemetry_content: str = _setting(
        "",
        "`true`: telemetry holds what was said, the code and its output too, for whoever may read the resource.",
        "true",
    )

    website_auth_enabled: str = _setting(
        "", "Set by App Service where its authentication is on; callers are then told apart by it.", "true"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads the settings.

        Args:
            environment: names and values, as in `os.environ`; an empty value counts as absent.

        Raises:
            SettingError: a value is not of its form.
        """
        values: dict[str, Any] = {}
        for row in fields(cls):
            name = _name(row)
            text = environment.get(name, "").strip()
            if text:
                values[row.name] = _parse(name, text, row.default, row.metadata["bounds"])
        return cls(**values)


def _name(row: Field[Any]) -> str:
    """What the setting is called in the environment."""
    return row.metadata["name"] or row.name.upper()


def _parse(name: str, text: str, default: object, bounds: tuple[int, int] | None) -> str | int:
    if bounds is None:
        return text
    low, high = bounds
    try:
        number = int(text)
    except ValueError:
        raise SettingError(name, f"{name} is not a whole number (for example {default}).") from None
    if not low <= number <= high:
        raise SettingError(name, f"{name} is out of range: it may be {low} to {high}.")
    return number


@lru_cache(maxsize=1)
def current() -> Settings:
    """The process's settings, read from the environment at the first successful call.

    Raises:
        SettingError: a value is not of its form; the next call reads again.
    """
    return Settings.from_environment(os.environ)


class SettingRow(NamedTuple):
    """One row of the table of settings."""

    name: str
    default: str
    meaning: str
    example: str


def table() -> Iterator[SettingRow]:
    """All settings, in the order in which they are declared."""
    for row in fields(Settings):
        yield SettingRow(_name(row), str(row.default), row.metadata["meaning"], row.metadata["example"])


def markdown_table() -> str:
    """The table of settings as Markdown."""
    lines = ["| setting | default | meaning | example |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {row.meaning} | `{row.example}` |"
        for row in table()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown_table())

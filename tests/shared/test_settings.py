"""One table of settings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from shared import session_wire
from shared.errors import SettingError
from shared.settings import Settings, markdown_table, table

ROOT = Path(__file__).parents[2]


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_environment({})
    assert settings.session_pool_api_version == session_wire.DEFAULT_API_VERSION == "2025-10-02-preview"
    assert settings.chat_deadline_seconds == 200


def test_values_come_from_the_environment_and_blank_ones_count_as_absent() -> None:
    settings = Settings.from_environment({"CHAT_MAX_TURNS": " 7 ", "OPENAI_MODEL": "m", "CHAT_MAX_FILES": " "})
    assert (settings.chat_max_turns, settings.openai_model, settings.chat_max_files) == (7, "m", 10)


@pytest.mark.parametrize("value", ["ten", "0", "226", "1.5"])
def test_a_malformed_value_is_named_and_not_shown(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"CHAT_DEADLINE_SECONDS": value})
    assert caught.value.name == "CHAT_DEADLINE_SECONDS"
    assert "CHAT_DEADLINE_SECONDS" in caught.value.detail


def test_code_may_be_given_what_the_service_allows_and_no_more() -> None:
    most = session_wire.EXECUTION_SECONDS_MAX
    name = "EXECUTION_TIMEOUT_SECONDS"
    assert Settings.from_environment({name: str(most)}).execution_timeout_seconds == most
    with pytest.raises(SettingError, match=name):
        Settings.from_environment({name: str(most + 1)})


def test_settings_are_frozen_and_keep_keys_out_of_their_repr() -> None:
    settings = Settings.from_environment({"OPENAI_API_KEY": "sk-secret", "OAI_CONFIG_LIST": "[sk-secret]"})
    assert "sk-secret" not in repr(settings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.openai_model = "other"  # type: ignore[misc]


def test_the_documentation_holds_the_generated_table() -> None:
    assert markdown_table() in (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_the_example_file_names_every_setting_that_people_set() -> None:
    example = json.loads((ROOT / "local.settings.json.example").read_text("utf-8"))
    host = {"FUNCTIONS_WORKER_RUNTIME", "PYTHON_THREADPOOL_THREAD_COUNT"}
    # At a desk the storage is Azurite; the settings for an account and an identity are Azure's.
    people = {row.name for row in table() if not row.name.startswith("AzureWebJobsStorage__")}
    assert example["IsEncrypted"] is False
    assert set(example["Values"]) - host == people - {"WEBSITE_AUTH_ENABLED"}
    assert Settings.from_environment(example["Values"]).storage_connection == "UseDevelopmentStorage=true"


def test_the_storage_settings_have_the_names_that_the_functions_runtime_reads() -> None:
    environment = {
        "AzureWebJobsStorage": "AccountName=a;AccountKey=secret-key",
        "AzureWebJobsStorage__accountName": "a",
        "AzureWebJobsStorage__blobServiceUri": "https://a.blob.core.windows.net",
        "AzureWebJobsStorage__queueServiceUri": "https://a.queue.core.windows.net",
        "AzureWebJobsStorage__clientId": "c",
        "CALLBACK_SECRET": "whsec_secret",
    }
    settings = Settings.from_environment(environment)
    assert settings.storage_connection == "AccountName=a;AccountKey=secret-key"
    assert (settings.storage_account, settings.storage_client_id) == ("a", "c")
    assert settings.storage_blob_uri == "https://a.blob.core.windows.net"
    assert settings.storage_queue_uri == "https://a.queue.core.windows.net"
    assert "secret" not in repr(settings).replace("callback_secret", "")


def test_a_run_has_more_time_than_a_chat_and_ends_before_the_function() -> None:
    assert Settings().run_deadline_seconds == 1200
    assert Settings.from_environment({"RUN_DEADLINE_SECONDS": "3400"}).run_deadline_seconds == 3400
    with pytest.raises(SettingError, match="RUN_DEADLINE_SECONDS"):
        Settings.from_environment({"RUN_DEADLINE_SECONDS": "3501"})


def test_every_setting_has_a_meaning_and_an_example() -> None:
    assert all(row.meaning.endswith(".") and row.example for row in table())

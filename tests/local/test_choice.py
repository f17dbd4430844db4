from __future__ import annotations

import json
from pathlib import Path

import pytest

from local.choice import MODEL_SETTINGS, Choice, StackRefused, app_settings, choose

POOL = {"POOL_MANAGEMENT_ENDPOINT": "https://pool.example"}
REAL_MODELS = [
    {"OAI_CONFIG_LIST": "[]"},
    {"OPENAI_API_KEY": "key"},
    {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"},
    {"AZURE_OPENAI_ENDPOINT": "https://model.example", "AZURE_OPENAI_API_KEY": "key"},
]
REAL = {**POOL, **REAL_MODELS[1]}
NONE = "Nothing protects this machine"


def chosen(
    settings: dict[str, str],
    *,
    unsafe: bool = False,
    no_sandbox: str = "",
    no_emulator: str = "npm is missing",
    **more: bool,
) -> Choice:
    return choose(settings, unsafe_no_sandbox=unsafe, no_sandbox=no_sandbox, no_emulator=no_emulator, **more)


def test_without_settings_all_is_local() -> None:
    assert chosen({}) == Choice(local_pool=True, stand_in_model=True, sandboxed=True)


def test_empty_settings_count_as_absent() -> None:
    empty = dict.fromkeys((*MODEL_SETTINGS, *POOL), " ")
    assert chosen(empty) == Choice(sandboxed=True)


def test_stand_in_does_without_a_sandbox_and_trusts_nobody_else() -> None:
    assert chosen({}, no_sandbox=NONE) == Choice(sandboxed=False, trusted=True)
    assert chosen({}, unsafe=True) == Choice(sandboxed=False, trusted=False)


@pytest.mark.parametrize("model", REAL_MODELS)
def test_real_model_needs_a_sandbox_a_real_pool_or_consent(model: dict[str, str]) -> None:
    assert chosen(model) == Choice(stand_in_model=False, sandboxed=True)
    with pytest.raises(StackRefused, match=rf"{NONE}.*--unsafe-no-sandbox"):
        chosen(model, no_sandbox=NONE)
    assert chosen(model, no_sandbox=NONE, unsafe=True) == Choice(stand_in_model=False, trusted=False)
    real = chosen({**model, **POOL}, no_sandbox=NONE)
    assert (real.local_pool, real.stand_in_model) == (False, False)


def test_real_pool_with_the_stand_in() -> None:
    choice = chosen(POOL)
    assert (choice.local_pool, choice.stand_in_model) == (False, True)


def test_local_identity_is_no_good_for_azure_openai() -> None:
    by_identity = {"AZURE_OPENAI_ENDPOINT": "https://model.example"}
    with pytest.raises(StackRefused, match="AZURE_OPENAI_API_KEY"):
        chosen(by_identity, unsafe=True)
    assert not chosen({**by_identity, **POOL}).local_pool


@pytest.mark.parametrize(
    ("settings", "no_emulator", "local", "configured"),
    [
        ({}, "", True, False),
        ({}, "npm is missing", False, False),
        ({"AzureWebJobsStorage": " "}, "", True, False),
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true;"}, "", True, False),
        ({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}, "npm is missing", False, False),
        ({"AzureWebJobsStorage": "AccountName=mine;AccountKey=k"}, "", False, True),
        ({"AzureWebJobsStorage__accountName": "mine"}, "", False, True),
        ({"AzureWebJobsStorage__queueServiceUri": "https://mine.example"}, "npm is missing", False, True),
    ],
)
def test_storage_is_emulated_unless_it_is_configured(
    settings: dict[str, str], no_emulator: str, local: bool, configured: bool
) -> None:
    choice = chosen({**settings, **REAL}, no_emulator=no_emulator)
    assert (choice.local_storage, choice.configured_storage) == (local, configured)


def test_emulator_of_somebody_else_is_used_where_there_is_none_of_ours() -> None:
    emulated = {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    assert chosen(emulated, has_other_emulator=True) == Choice(sandboxed=True, configured_storage=True)
    assert chosen(emulated, has_other_emulator=True, no_emulator="") == Choice(sandboxed=True, local_storage=True)


ACCOUNTS = [
    {"AzureWebJobsStorage": "AccountName=mine;AccountKey=k"},
    {"AzureWebJobsStorage__accountName": "mine"},
    {"AzureWebJobsStorage__queueServiceUri": "https://mine.example"},
]


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("queue", [{}, {"RUN_QUEUE_NAME": " "}, {"RUN_QUEUE_NAME": "runs"}])
@pytest.mark.parametrize("part", [POOL, REAL_MODELS[1], {}])
def test_stand_ins_do_not_take_the_runs_of_others(
    account: dict[str, str], queue: dict[str, str], part: dict[str, str]
) -> None:
    with pytest.raises(StackRefused, match=r"RUN_QUEUE_NAME|identity"):
        chosen({**account, **queue, **part})
    # A chat touches no queue.
    assert not chosen({**account, **queue, **part}, with_runs=False).configured_storage


def test_stand_ins_work_on_a_queue_of_their_own() -> None:
    own = {**ACCOUNTS[0], "RUN_QUEUE_NAME": "runs-of-mine"}
    assert chosen(own).configured_storage
    with pytest.raises(StackRefused, match=r"this stack would take them.*RUN_QUEUE_NAME"):
        chosen(ACCOUNTS[0])


@pytest.mark.parametrize("account", ACCOUNTS[1:])
def test_local_identity_is_no_good_for_azure_storage(account: dict[str, str]) -> None:
    own = {**account, "RUN_QUEUE_NAME": "runs-of-mine"}
    with pytest.raises(StackRefused, match="Azure Storage does not accept the local identity"):
        chosen(own)
    assert chosen({**own, **POOL}).configured_storage


def test_chats_need_no_storage() -> None:
    assert not chosen({}, no_emulator="", with_runs=False).local_storage


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    values = {"OPENAI_MODEL": "from file", "CHAT_MAX_TURNS": 3, "NOTHING": None}
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    seen = app_settings({"OPENAI_MODEL": "from environment"}, tmp_path)
    assert seen == {"OPENAI_MODEL": "from environment", "CHAT_MAX_TURNS": "3"}


def test_no_file_is_no_settings(tmp_path: Path) -> None:
    assert app_settings({"A": "1"}, tmp_path) == {"A": "1"}


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"IsEncrypted": false, "Values": 3}', '{"IsEncrypted": true, "Values": {"OPENAI_MODEL": "x"}}']
)
def test_unreadable_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.settings.json").write_text(text)
    with pytest.raises(StackRefused, match=r"local\.settings\.json|settings' section"):
        app_settings({}, tmp_path)


def test_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").mkdir()
    with pytest.raises(StackRefused, match=r"local\.settings\.json cannot be read"):
        app_settings({}, tmp_path)

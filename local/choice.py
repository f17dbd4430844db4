"""Which parts of the stack are local, and which are configured for real.

What the environment or `local.settings.json` configures is not replaced: with `POOL_MANAGEMENT_ENDPOINT`
the pool is Azure's, with a model's settings the model is that one, with `AzureWebJobsStorage` storage is that account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.functions_host.settings import SettingsError, read_local_settings

MODEL_SETTINGS = ("OAI_CONFIG_LIST", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_KEY")
_STORAGE = "AzureWebJobsStorage"
_STORAGE_BY_IDENTITY = (f"{_STORAGE}__accountName", f"{_STORAGE}__queueServiceUri")
_EMULATED_STORAGE = "usedevelopmentstorage=true"
_RUN_QUEUE = "RUN_QUEUE_NAME"
# Of an app in Azure that says nothing else.
_USUAL_QUEUE = "runs"


class StackRefused(Exception):
    """The configuration asks for a stack that cannot or should not be started; the text says what to do."""


@dataclass(frozen=True)
class Choice:
    """Which parts are local.

    Args:
        local_pool: the emulated session pool and its identity; otherwise the configured pool.
        stand_in_model: the rule-based stand-in; otherwise the configured model.
        sandboxed: the local pool's sessions are in a sandbox.
        trusted: where they are not, only the stand-in's code and that of the user's own message runs.
        local_storage: Azurite; otherwise the configured storage, or none.
        configured_storage: storage is configured for real.
    """

    local_pool: bool = True
    stand_in_model: bool = True
    sandboxed: bool = False
    trusted: bool = True
    local_storage: bool = False
    configured_storage: bool = False


def app_settings(environment: Mapping[str, str], app_dir: Path) -> dict[str, str]:
    """The settings that the app would see: `local.settings.json` under the environment.

    Args:
        environment: names and values, which win.
        app_dir: folder of `local.settings.json`.

    Raises:
        StackRefused: the file is not readable as settings.
    """
    try:
        values = read_local_settings(app_dir).values
    except SettingsError as error:
        raise StackRefused(str(error)) from error
    except OSError as error:
        raise StackRefused(f"local.settings.json cannot be read: {error.strerror}.") from error
    return {**{name: value for name, value in values.items() if value is not None}, **environment}


def choose(
    settings: Mapping[str, str],
    *,
    unsafe_no_sandbox: bool,
    no_sandbox: str,
    no_emulator: str,
    has_other_emulator: bool = False,
    with_runs: bool = True,
) -> Choice:
    """Decides which parts are local.

    Args:
        settings: what `app_settings` returns.
        unsafe_no_sandbox: the user accepts that any code runs here without a sandbox.
        no_sandbox: why this machine has no sandbox; empty where it has one.
        no_emulator: why this machine has no storage emulator; empty where it has one.
        has_other_emulator: one that is not ours is running.
        with_runs: runs are carried out; chats need no storage.

    Raises:
        StackRefused: a real model would write code for a pool without a sandbox, something would need an
            identity that the local one cannot give, or stand-ins would take the runs of others.
    """
    configured_storage = with_runs and _has_storage(settings, no_emulator, has_other_emulator=has_other_emulator)
    choice = Choice(
        local_pool=not _is_set(settings, "POOL_MANAGEMENT_ENDPOINT"),
        stand_in_model=not any(_is_set(settings, name) for name in MODEL_SETTINGS),
        sandboxed=not unsafe_no_sandbox and not no_sandbox,
        trusted=not unsafe_no_sandbox,
        local_storage=with_runs and not configured_storage and not no_emulator,
        configured_storage=configured_storage,
    )
    _check_model(choice, settings, no_sandbox)
    if configured_storage and not _is_emulated(settings):
        _check_storage(choice, settings)
    return choice


def _check_model(choice: Choice, settings: Mapping[str, str], no_sandbox: str) -> None:
    if not choice.local_pool or choice.stand_in_model:
        return
    if choice.trusted and not choice.sandboxed:
        raise StackRefused(
            "A real model is configured, and what it writes would run with your rights on this machine. "
            f"{no_sandbox} Or set POOL_MANAGEMENT_ENDPOINT to a session pool in Azure, unset the model's "
            "settings to use the stand-in model, or accept the risk with --unsafe-no-sandbox."
        )
    by_identity = _is_set(settings, "AZURE_OPENAI_ENDPOINT") and not _is_set(settings, "OAI_CONFIG_LIST")
    if by_identity and not _is_set(settings, "AZURE_OPENAI_API_KEY"):
        raise StackRefused(
            "Azure OpenAI does not accept the local identity, and the app has one identity for pool "
            "and model. Set AZURE_OPENAI_API_KEY, or POOL_MANAGEMENT_ENDPOINT to use a pool in Azure."
        )


def _check_storage(choice: Choice, settings: Mapping[str, str]) -> None:
    if choice.local_pool and not _is_set(settings, _STORAGE):
        raise StackRefused(
            "Azure Storage does not accept the local identity, and the app has one identity for pool and storage. "
            f"Set {_STORAGE} to a connection string, unset {' and '.join(_STORAGE_BY_IDENTITY)} to use the emulator, "
            "or set POOL_MANAGEMENT_ENDPOINT to use a pool in Azure."
        )
    is_stand_in = choice.local_pool or choice.stand_in_model
    if is_stand_in and settings.get(_RUN_QUEUE, "").strip() in ("", _USUAL_QUEUE):
        raise StackRefused(
            f"The storage account is a real one, and an app that works for others may have its runs in its queue "
            f"`{_USUAL_QUEUE}`: this stack would take them, and carry them out with its stand-ins. Set {_RUN_QUEUE} to "
            f"the name of a queue of your own, or unset {_STORAGE} to use the emulator."
        )


def _has_storage(settings: Mapping[str, str], no_emulator: str, *, has_other_emulator: bool) -> bool:
    """Whether the settings lead to storage that need not be started here."""
    if _is_emulated(settings):
        # Where we have no emulator, the one that the settings speak of may be the user's own.
        return bool(no_emulator) and has_other_emulator
    return any(_is_set(settings, name) for name in (_STORAGE, *_STORAGE_BY_IDENTITY))


def _is_emulated(settings: Mapping[str, str]) -> bool:
    return settings.get(_STORAGE, "").strip().rstrip(";").lower() == _EMULATED_STORAGE


def _is_set(settings: Mapping[str, str], name: str) -> bool:
    return bool(settings.get(name, "").strip())

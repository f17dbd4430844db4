"""Which model the writer uses: AutoGen's `llm_config` from the settings.

All model calls of the process share one HTTP client with its connections; each chat sees it through a
`ChatHttpClient`, which bounds every call by the chat's deadline and, where the model takes the app's identity,
signs it with a current token.
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from shared import errors, retry, telemetry_chats
from shared.deadline import Deadline
from shared.errors import SettingError
from shared.identity import MODEL_SCOPE, BearerTokens, is_safe_address, is_web_address, process_tokens
from shared.settings import Settings

CONNECT_SECONDS = 5.0
# The openai library wants some key; the client replaces it by a token of the app's identity.
_IDENTITY_KEY = "the-identity-signs"
_OUR_CLIENT_TYPES = ("openai", "azure")
_AZURE_DOMAINS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# As the conventions of telemetry call them.
_OPENAI, _AZURE = "openai", "azure.ai.openai"


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it is paid for.

    Attributes:
        setting: the name of the setting that it comes from.
        entries: AutoGen's config list, without HTTP client.
        uses_identity: requests are signed by the app's identity.
        providers: of the entries, as telemetry calls them.
    """

    setting: str
    entries: tuple[Mapping[str, Any], ...] = field(repr=False)
    uses_identity: bool = False
    providers: tuple[str, ...] = (_OPENAI,)


def choose(settings: Settings) -> ModelChoice:
    """The first model that is configured: OAI_CONFIG_LIST, AZURE_OPENAI_*, OPENAI_*.

    Raises:
        SettingError: none is, or the first is not complete.
    """
    if settings.oai_config_list:
        return _from_config_list(settings.oai_config_list)
    if settings.azure_openai_endpoint:
        return _from_azure(settings)
    if settings.openai_base_url or settings.openai_api_key:
        return _from_openai(settings)
    raise SettingError(
        "AZURE_OPENAI_ENDPOINT",
        "No model is configured: set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_DEPLOYMENT, or OPENAI_BASE_URL or "
        "OPENAI_API_KEY with OPENAI_MODEL, or OAI_CONFIG_LIST.",
    )


def llm_config(settings: Settings, deadline: Deadline) -> dict[str, Any]:
    """AutoGen's `llm_config` for one chat.

    Args:
        settings: say which model.
        deadline: of the chat; no call lasts longer.

    Raises:
        SettingError: no model is configured, or not completely.
    """
    choice = choose(settings)
    tokens = process_tokens(MODEL_SCOPE, settings.azure_client_id) if choice.uses_identity else None
    clients = {name: ChatHttpClient(_process_client(), deadline, tokens, provider=name) for name in choice.providers}
    entries = [
        {**entry, "http_client": clients[provider]}
        if entry.get("api_type", "openai") in _OUR_CLIENT_TYPES
        else {**entry}
        for entry, provider in zip(choice.entries, choice.providers, strict=True)
    ]
    return {"config_list": entries, "timeout": math.ceil(deadline.remaining()) or 1, "cache_seed": None}


class ChatHttpClient(httpx.Client):
    """One chat's view of the process's HTTP client.

    Args:
        client: the process's own, which sends.
        deadline: of the chat.
        tokens: sign the requests; None leaves the key that the library has set.
        sleep: waits between attempts, in seconds.
        provider: as telemetry calls it.
    """

    def __init__(
        self,
        client: httpx.Client,
        deadline: Deadline,
        tokens: BearerTokens | None,
        sleep: Callable[[float], None] = time.sleep,
        *,
        provider: str = _OPENAI,
    ) -> None:
        # Requests are built here and sent there: this client needs no connections of its own.
        super().__init__(transport=httpx.MockTransport(client.send))
        self._process = client
        self._deadline = deadline
        self._tokens = tokens
        self._sleep = sleep
        self._provider = provider

    def __deepcopy__(self, memo: object) -> ChatHttpClient:
        """AutoGen copies its configuration deeply; the client stays one."""
        return self

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends within the deadline; tries again after 429, 5xx and a lost connection while there is time.

        Returns:
            The last response, read to its end.

        Raises:
            DeadlineReached: the deadline has passed.
            IdentityError: no token could be had.
            ModelRefused: what answers is no model server.
            httpx.HTTPError: no answer came.
        """
        with telemetry_chats.model_call(self._provider, request.content) as span:
            try:
                response = self._attempts(request, options)
            except httpx.HTTPError:
                span.failed(errors.ModelUnreachable.code)
                raise
            if response.is_success:
                span.answered(response.content)
            else:
                span.failed(_refusal(response.status_code).code)
            return response

    def _attempts(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._signed(request, options)
            except httpx.TransportError:
                self._deadline.check()
                pause = retry.pause(attempt, {}, self._deadline)
                if pause is None:
                    raise
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return _checked(response)
                # The openai library would wait by its own clock, which knows no deadline.
                response.headers["x-should-retry"] = "false"
                pause = retry.pause(attempt, response.headers, self._deadline)
                if pause is None:
                    return response
            self._sleep(pause)

    def _signed(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        if self._tokens is None:
            return self._bounded(request, options)

        def with_token(token: str) -> httpx.Response:
            request.headers["Authorization"] = f"Bearer {token}"
            request.headers.pop("api-key", None)
            return self._bounded(request, options)

        return self._tokens.send(with_token, self._deadline)

    def _bounded(self, request: httpx.Request, options: Mapping[str, Any]) -> httpx.Response:
        left = self._deadline.clamp(math.inf)
        request.extensions["timeout"] = httpx.Timeout(left, connect=min(CONNECT_SECONDS, left)).as_dict()
        # Its timeout is for each read, and an answer can come in many small pieces.
        response = self._process.send(request, **{**options, "stream": True})
        return _read(response, self._deadline)


def _read(response: httpx.Response, deadline: Deadline) -> httpx.Response:
    def shut() -> None:
        response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RD)

    body = bytearray()
    with closing(response), deadline.interrupting(shut):
        for chunk in response.iter_raw():
            body += chunk
            deadline.check()
    # A body without a length ends where the connection was shut.
    deadline.check()
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        content=bytes(body),
        request=response.request,
        extensions=response.extensions,
    )


def _checked(response: httpx.Response) -> httpx.Response:
    asked = response.request.url.path.endswith("/chat/completions") and response.is_success
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    if asked and not streamed and not _is_completion(response.content):
        raise errors.ModelRefused(
            f"The model's server answered {response.status_code} without a chat completion. Check the address: "
            "AZURE_OPENAI_ENDPOINT, OPENAI_BASE_URL or OAI_CONFIG_LIST, whichever is set."
        )
    return response


def _is_completion(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body)["choices"][0]["message"], dict)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def model_error(error: BaseException) -> errors.ServiceError | None:
    """What an exception out of a model call means for the caller; None if it is not the model's.

    Args:
        error: as it left AutoGen.
    """
    import openai

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.ServiceError):
            return cause
        cause = cause.__cause__
    if isinstance(error, openai.APIStatusError):
        kind = _refusal(error.status_code)
        seconds = retry.retry_after(error.response.headers)
        return kind(f"{kind.title}. It answered {error.status_code}.", retry_after_seconds=seconds)
    if isinstance(error, (openai.APIConnectionError, TimeoutError, httpx.HTTPError)):
        return errors.ModelUnreachable()
    return errors.ModelError() if isinstance(error, openai.APIError) else None


def _refusal(status: int) -> type[errors.ModelError]:
    if status in (401, 403):
        return errors.ModelUnauthorized
    return errors.ModelBusy if status == 429 or status >= 500 else errors.ModelRefused


@lru_cache(maxsize=1)
def _process_client() -> httpx.Client:
    return httpx.Client(limits=httpx.Limits(max_connections=200, max_keepalive_connections=50))


def _from_config_list(text: str) -> ModelChoice:
    name = "OAI_CONFIG_LIST"
    if not text.lstrip().startswith("["):
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, ValueError):
            raise SettingError(name, f"{name} is neither a JSON list nor the path of a readable file.") from None
    try:
        entries = json.loads(text)
    except ValueError:
        raise SettingError(name, f"{name} is not valid JSON.") from None
    good = isinstance(entries, list) and all(isinstance(e, dict) and e.get("model") for e in entries)
    if not good or not entries:
        raise SettingError(name, f"{name} is not a list of objects that each name a 'model'.")
    for entry in entries:
        _check_key(name, entry.get("api_key"))
        if not is_web_address(str(entry.get("base_url") or "https://api.openai.com")):
            raise SettingError(name, f"A base_url in {name} is not an http or https URL.")
    return ModelChoice(name, tuple(entries), providers=tuple(_provider(entry) for entry in entries))


def _provider(entry: Mapping[str, Any]) -> str:
    host = urlsplit(str(entry.get("base_url") or "")).hostname or ""
    return _AZURE if entry.get("api_type") == "azure" or host.endswith(_AZURE_DOMAINS) else _OPENAI


def _check_key(name: str, key: object) -> None:
    # A header could not carry it, and the library's error would come in the middle of the chat.
    if isinstance(key, str) and not (key.isascii() and key.isprintable()):
        raise SettingError(name, f"A key in {name} has characters that no key has.")


def _from_azure(settings: Settings) -> ModelChoice:
    name = "AZURE_OPENAI_ENDPOINT"
    if not is_safe_address(settings.azure_openai_endpoint):
        raise SettingError(name, f"{name} is not an https URL (http is for this machine only).")
    _check_key("AZURE_OPENAI_API_KEY", settings.azure_openai_api_key)
    if not settings.azure_openai_deployment:
        raise SettingError("AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_ENDPOINT is set without AZURE_OPENAI_DEPLOYMENT.")
    # Azure's v1 surface speaks plain OpenAI and keeps the dots that AutoGen removes from deployment names.
    entry = {
        "model": settings.azure_openai_deployment,
        "base_url": f"{settings.azure_openai_endpoint.rstrip('/')}/openai/v1/",
        "api_key": settings.azure_openai_api_key or _IDENTITY_KEY,
    }
    by_identity = not settings.azure_openai_api_key
    return ModelChoice(name, (entry,), uses_identity=by_identity, providers=(_AZURE,))


def _from_openai(settings: Settings) -> ModelChoice:
    if not settings.openai_model:
        raise SettingError("OPENAI_MODEL", "OPENAI_BASE_URL or OPENAI_API_KEY is set without OPENAI_MODEL.")
    _check_key("OPENAI_API_KEY", settings.openai_api_key)
    entry = {"model": settings.openai_model, "api_key": settings.openai_api_key or "none"}
    if not settings.openai_base_url:
        return ModelChoice("OPENAI_API_KEY", (entry,))
    name = "OPENAI_BASE_URL"
    if not is_web_address(settings.openai_base_url):
        raise SettingError(name, f"{name} is not an http or https URL, such as http://localhost:11434/v1.")
    if settings.openai_api_key and not is_safe_address(settings.openai_base_url):
        raise SettingError(name, f"{name} is http to another machine: a key (OPENAI_API_KEY) goes there by https only.")
    return ModelChoice(name, ({**entry, "base_url": settings.openai_base_url},))

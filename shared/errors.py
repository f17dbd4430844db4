"""What can go wrong, grouped by what the caller can do about it.

    ServiceError                    status, code, title, detail, remedy
    ├── InvalidRequest              4xx: mend the request; the code names the field's fault
    ├── SettingError                500: mend an app setting
    ├── IdentityError               502: mend the managed identity
    ├── PoolError                   the session pool did not do its part
    │   ├── PoolUnreachable         502: no connection, or no answer where asking again does no harm
    │   ├── PoolOutcomeUnknown      424: sent, no answer; the code may have run (5xx would run it again)
    │   ├── PoolUnauthorized        502: 401, wrong API version or audience
    │   ├── PoolForbidden           502: 403, a role is missing
    │   ├── PoolNotFound            502: 404, wrong endpoint
    │   ├── PoolFull                503: 429, every session is taken
    │   ├── PoolLimitExceeded       413: a file, or a reply, is too large
    │   ├── SessionFileNotFound     404: no such file in the session
    │   ├── PoolRefused             502: any other refusal
    │   └── PoolUnavailable         503: the service failed; try again
    ├── ModelError                  the model did not do its part
    │   ├── ModelUnreachable        502
    │   ├── ModelUnauthorized       502: 401 or 403, a role or key is missing
    │   ├── ModelRefused            502: the model rejected the request
    │   └── ModelBusy               503: 429 or 5xx, quota or capacity
    ├── StorageError                the storage account did not do its part
    │   ├── StorageUnreachable      503: no connection, or no answer
    │   ├── StorageUnavailable      503: 429 or 5xx; try again
    │   ├── StorageForbidden        502: 401 or 403, a role or the right key is missing
    │   ├── StorageLimitExceeded    413: too large to be kept
    │   └── StorageRefused          502: any other refusal
    │       └── RunUnreadable       502: what lies in a record's place is none, or too large
    ├── RunNotFound                 404: there is no such run
    ├── RunBusy                     409: another worker has the run
    ├── RunChanged                  409: somebody else changed the record meanwhile
    └── RunGivenUp                  500: a run was begun too often without coming to an end

    DeadlineReached                 not an error of the service: the time given is used up
    ChatAbandoned                   not an error of the service: somebody else has the chat now

`detail` and `remedy` are fit for any caller: they never hold a URL, token, key or identifier. The exact
words of a remote service are for the log only.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """A request that failed for a reason we can name.

    Args:
        detail: one sentence on what happened this time.
        retry_after_seconds: when trying again makes sense, if the service said so.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The request failed"
    remedy: ClassVar[str] = "Look for the invocation in the function app's log."

    def __init__(self, detail: str = "", *, retry_after_seconds: int | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or f"{self.title}."
        self.retry_after_seconds = retry_after_seconds


class InvalidRequest(ServiceError):
    """The request cannot be taken as it is.

    Args:
        code: the fault, as callers may compare it (`message_too_long`).
        detail: what is wrong and what is allowed.
        status: the HTTP status, 400 unless another says more.
        field: where in the body the fault is.
    """

    title = "The request is not valid"
    remedy = "Correct the request and send it again."

    def __init__(self, code: str, detail: str, *, status: int = 400, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # one class, many codes: the fields' faults
        self.status = status  # type: ignore[misc]
        self.field = field


class SettingError(ServiceError):
    """An app setting is missing or malformed.

    Args:
        name: the setting's name.
        detail: what is wrong with it; never its value. Where it does not name the setting, the name goes first.
    """

    code = "setting_invalid"
    title = "The app is not configured"
    remedy = "Set it in the function app's settings, or in local.settings.json, and try again."

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail if name in detail else f"{name}: {detail}")
        self.name = name


class IdentityError(ServiceError):
    """No token could be had for the app's identity."""

    status = 502
    code = "identity_unavailable"
    title = "The app's identity got no token"
    remedy = (
        "In Azure, enable the function app's managed identity and, for a user-assigned one, set "
        "AZURE_CLIENT_ID to its client id. On your machine, sign in with 'az login'."
    )


class PoolError(ServiceError):
    """The session pool did not do its part."""

    status = 502
    code = "pool_error"
    title = "The session pool failed"


class PoolUnreachable(PoolError):
    """No connection to the pool, or no answer to a request that is harmless to repeat: no code has run."""

    code = "pool_unreachable"
    title = "The session pool cannot be reached"
    remedy = (
        "Check POOL_MANAGEMENT_ENDPOINT and that the pool exists, then try again. Where it names several pools, a new "
        "conversation finds one that answers."
    )


class PoolOutcomeUnknown(PoolError):
    """The request was sent and no answer came: the code may have run.

    The status is 424 (Failed Dependency) because Logic Apps and many other clients send a request again
    after 408, 429 and any 5xx: that would run the code a second time without anybody's decision.
    """

    status = 424
    code = "pool_outcome_unknown"
    title = "The session pool did not answer"
    remedy = "The code may have run. Look at the session's files before you ask for the same again."


class PoolUnauthorized(PoolError):
    """The pool answered 401 twice, the second time to a new token."""

    code = "pool_unauthorized"
    title = "The session pool did not accept the app's token"
    remedy = (
        "Check that SESSION_POOL_API_VERSION is offered in the pool's region (an unknown version is "
        "answered like a bad token), that the identity belongs to the pool's tenant, and that it has the role "
        "'Contributor' on the pool too."
    )


class PoolForbidden(PoolError):
    """The identity has no role on the pool."""

    code = "pool_forbidden"
    title = "The app's identity may not use the session pool"
    remedy = (
        "Assign the roles 'Azure ContainerApps Session Executor' and 'Contributor' on the session pool to "
        "the function app's identity; a new assignment takes some minutes to work."
    )


class PoolNotFound(PoolError):
    """The endpoint leads to no pool."""

    code = "pool_not_found"
    title = "The session pool was not found"
    remedy = "Set POOL_MANAGEMENT_ENDPOINT to the pool's properties.poolManagementEndpoint."


class PoolFull(PoolError):
    """Every session of the pool is taken."""

    status = 503
    code = "pool_full"
    title = "The session pool has no free session"
    remedy = (
        "Try again when sessions have cooled down, or raise the pool's maxConcurrentSessions (at most 600), lower its "
        "cooldown period or add a pool to POOL_MANAGEMENT_ENDPOINT."
    )


class PoolLimitExceeded(PoolError):
    """A file is larger than a session takes, or a reply larger than was asked for."""

    status = 413
    code = "pool_limit_exceeded"
    title = "Too large for the session pool"
    remedy = "A file in a session may have 128 MB at most. Send, or ask for, less."


class SessionFileNotFound(PoolError):
    """The session has no such file."""

    status = 404
    code = "session_file_not_found"
    title = "The session has no such file"
    remedy = "List the session's files; they are gone once a session has cooled down."


class PoolRefused(PoolError):
    """The pool refused the request for another reason, named by its own error code."""

    code = "pool_refused"
    title = "The session pool refused the request"
    remedy = "Check SESSION_POOL_API_VERSION and that the pool is of type PythonLTS."


class PoolUnavailable(PoolError):
    """The service itself failed, also when tried again."""

    status = 503
    code = "pool_unavailable"
    title = "The session pool is not available"
    remedy = "Try again in a moment."


class ModelError(ServiceError):
    """The model did not do its part."""

    status = 502
    code = "model_error"
    title = "The model failed"
    remedy = "Check the model settings (see the README, 'A real model')."


class ModelUnreachable(ModelError):
    """No connection to the model, or no answer from it in time."""

    code = "model_unreachable"
    title = "The model cannot be reached"
    remedy = "Check AZURE_OPENAI_ENDPOINT, OPENAI_BASE_URL or OAI_CONFIG_LIST, whichever is set."


class ModelUnauthorized(ModelError):
    """The model service refused the key or the identity."""

    code = "model_unauthorized"
    title = "The model did not accept the app's key or identity"
    remedy = (
        "Assign the role 'Cognitive Services OpenAI User' on the Azure OpenAI resource to the function app's "
        "identity, or check OPENAI_API_KEY, AZURE_OPENAI_API_KEY or OAI_CONFIG_LIST."
    )


class ModelRefused(ModelError):
    """The model service rejected the request (unknown model, content filter, too long), or it is no model service."""

    code = "model_refused"
    title = "The model refused the request"
    remedy = "Check the address, the name of the model or deployment, the message's length and the content filter."


class ModelBusy(ModelError):
    """Quota or capacity is used up, also when tried again."""

    status = 503
    code = "model_busy"
    title = "The model is out of quota or capacity"
    remedy = "Try again in a moment, or raise the deployment's tokens per minute."


class StorageError(ServiceError):
    """The storage account, which keeps runs, did not do its part."""

    status = 502
    code = "storage_error"
    title = "The storage account failed"
    remedy = "Check AzureWebJobsStorage, or AzureWebJobsStorage__accountName and its kin."


class StorageUnreachable(StorageError):
    """No connection to the storage account, or no answer from it; what was asked may have been done."""

    status = 503
    code = "storage_unreachable"
    title = "The storage account cannot be reached"
    remedy = (
        "Check AzureWebJobsStorage, or AzureWebJobsStorage__accountName and its kin, and the account's network rules; "
        "on your machine, start Azurite with 'python3 dev.py up'. Then try again."
    )


class StorageUnavailable(StorageError):
    """The storage account is busy or failed, also when tried again; what was asked may have been done."""

    status = 503
    code = "storage_unavailable"
    title = "The storage account is not available"
    remedy = "Try again in a moment."


class StorageForbidden(StorageError):
    """The identity has no role on the storage account, or its key is not the right one."""

    code = "storage_forbidden"
    title = "The app may not use the storage account"
    remedy = (
        "Assign the roles 'Storage Blob Data Owner' and 'Storage Queue Data Contributor' on the storage account to the "
        "function app's identity (a new assignment takes some minutes to work), or correct AzureWebJobsStorage; the "
        "account's network rules may refuse the app too."
    )


class StorageLimitExceeded(StorageError):
    """What is to be kept, or was kept, is too large."""

    status = 413
    code = "storage_limit_exceeded"
    title = "Too large to be kept for a run"
    remedy = "Send, or ask for, less."


class StorageRefused(StorageError):
    """The storage account refused the request for another reason, or holds what is not ours."""

    code = "storage_refused"
    title = "The storage account refused the request"
    remedy = (
        "Check that AzureWebJobsStorage, or AzureWebJobsStorage__accountName and its kin, leads to a general-purpose "
        "account, and that nobody else writes its container 'runs'."
    )


class RunUnreadable(StorageRefused):
    """What lies where a run's record should be is none, or is too large to be one."""

    code = "run_unreadable"
    title = "The run's record cannot be read"
    remedy = (
        "Start another run. See to it that nobody else writes the storage account's container 'runs'; the record is "
        "deleted after RUN_RETENTION_DAYS."
    )


class RunNotFound(ServiceError):
    """There is no such run, or it was deleted."""

    status = 404
    code = "run_not_found"
    title = "There is no such run"
    remedy = "Check the run's address; ended runs are deleted after RUN_RETENTION_DAYS."


class RunBusy(ServiceError):
    """Another worker has the run."""

    status = 409
    code = "run_busy"
    title = "The run is being worked on"
    remedy = "Wait for it; ask for its state."


class RunChanged(ServiceError):
    """The run's record was changed since it was read."""

    status = 409
    code = "run_changed"
    title = "The run was changed meanwhile"
    remedy = "Try again."


class RunGivenUp(ServiceError):
    """A run that was begun too often without coming to an end."""

    code = "run_given_up"
    title = "The run was given up"
    remedy = "Look for the run's invocations in the function app's log, and start another run."


class DeadlineReached(Exception):
    """The time given for the chat is used up; what was done so far counts."""


class ChatAbandoned(Exception):
    """An observer raises it: somebody else has the chat now, and nothing more is to come of this one."""

"""What the storage account's refusals and failures mean, as the app's own errors.

Azure's errors are not chained: their text, and that of the requests below them, holds addresses, and an address may
hold a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from shared import errors
from shared.errors import DeadlineReached, StorageError


class Refusal:
    """As a context, swallows refusals that are an answer: a condition does not hold, somebody else has the lease.

    Args:
        statuses: of HTTP, that say so.
    """

    def __init__(self, *statuses: int) -> None:
        self._statuses = statuses

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, HttpResponseError):
            return False
        return error.status_code in self._statuses and error_code(error) != "ContainerBeingDeleted"


@contextmanager
def told() -> Iterator[None]:
    """Raises the app's own errors in place of Azure's."""
    try:
        yield
    except DeadlineReached:
        raise errors.StorageUnreachable("A transfer took too long.") from None
    except AzureError as error:
        raise _failure(error) from None
    except (ValueError, SyntaxError) as error:
        # The second is what a parser of XML raises: something else answers in the account's place.
        raise errors.StorageRefused(f"An answer is not a storage account's ({type(error).__name__}).") from None


def _failure(error: AzureError) -> StorageError:
    status = getattr(error, "status_code", None)
    if status is None:
        kind = errors.StorageForbidden if isinstance(error, ClientAuthenticationError) else errors.StorageUnreachable
        return kind(f"The storage account did not answer ({type(error).__name__}).")
    detail = f"The storage account answered {status}{f' ({error_code(error)})' if error_code(error) else ''}."
    if status in (401, 403):
        return errors.StorageForbidden(detail)
    if status == 413:
        return errors.StorageLimitExceeded(detail)
    return (errors.StorageUnavailable if status in (408, 429) or status >= 500 else errors.StorageRefused)(detail)


def error_code(error: AzureError) -> str:
    """The service's own name for what went wrong; empty where it is not one."""
    code = getattr(error, "error_code", None)
    text = str(getattr(code, "value", code) or "")
    return text if re.fullmatch("[A-Za-z]{1,60}", text) else ""

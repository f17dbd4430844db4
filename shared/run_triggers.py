"""What happens to runs without a caller: a queued one is carried out, a poisoned one is failed, old ones are deleted.

Handlers as in `api`, free of the host. They raise only to have a message delivered again, and then nothing that holds
a URL, because the host logs what a function raises.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared import telemetry
from shared.deadline import Deadline
from shared.errors import ServiceError
from shared.runs import is_run_id
from shared.settings import current

if TYPE_CHECKING:
    from shared.run_store import RunStore

# Below the five minutes that a function has on every plan, with room for the last calls to a slow storage.
DELETION_SECONDS_MAX = 200.0
_log = logging.getLogger(__name__)


class NotCarriedOut(Exception):
    """A run was not carried out this time: the message is to be delivered again."""


def carry_out(message: bytes, store: RunStore | None = None) -> None:
    """Carries out the run that a message of the queue names.

    Args:
        message: its decoded text.
        store: of the runs; None for the process's own.

    Raises:
        NotCarriedOut: it is to be delivered again.
    """
    telemetry.start()
    run_id = _run_id(message)
    if run_id is None:
        return
    # AutoGen and the model's library take a second and 70 MB: only runs and chats pay for them.
    from shared.run_store import process_store
    from shared.run_worker import carry_out as work

    with _clean_errors(f"Run {run_id}"):
        settings = current()
        work(run_id, store or process_store(settings), settings)


def fail_poisoned(message: bytes, store: RunStore | None = None) -> None:
    """Ends a run whose message was delivered in vain too often, so that its caller is told.

    Args:
        message: of the poison queue, its decoded text.
        store: of the runs; None for the process's own.

    Raises:
        NotCarriedOut: it is to be delivered again.
    """
    telemetry.start()
    run_id = _run_id(message)
    if run_id is None:
        return
    from shared.run_store import process_store
    from shared.run_worker import fail_poisoned as fail

    with _clean_errors(f"Run {run_id}"):
        settings = current()
        fail(run_id, store or process_store(settings), settings)


def delete_old(store: RunStore | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Deletes runs that ended longer ago than RUN_RETENTION_DAYS, as many as the time allows; the next call goes on.

    A timer and not a lifecycle rule of the storage account: a rule counts from each blob's last write and knows nothing
    else, so that it would take the files of a run that still goes on, and the store's secret.

    Args:
        store: of the runs; None for the process's own.
        clock: seconds, monotonic.

    Raises:
        NotCarriedOut: the storage failed; the next call does the rest.
    """
    telemetry.start()
    from shared.run_store import process_store

    deadline = Deadline.after(DELETION_SECONDS_MAX, clock)
    with _clean_errors("Deletion of ended runs"):
        settings = current()
        runs = store or process_store(settings)
        before = time.time() - settings.run_retention_days * 86_400
        _log.info("Deleted %d ended runs", runs.delete_ended_before(before, deadline))


def _run_id(message: bytes) -> str | None:
    text = message.decode("utf-8", "replace").strip()
    if is_run_id(text):
        return text
    _log.warning("A message in the queue of runs is no run's id; it is dropped")
    return None


@contextmanager
def _clean_errors(work: str) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        telemetry.failure(error.code)
        raise NotCarriedOut(f"{work}: {error.code}: {error.detail}") from None
    except Exception as error:  # noqa: BLE001  # what is raised instead tells its type and place
        # The words of an unforeseen error may hold anything, so the log gets its type and place only.
        telemetry.failure(ServiceError.code)
        place = "".join(traceback.format_tb(error.__traceback__))
        raise NotCarriedOut(f"{work}: unforeseen {type(error).__name__}\n{place}") from None

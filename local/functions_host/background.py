"""Work that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

_logger = logging.getLogger("local.functions_host")


def tell_failure(what: str) -> Callable[[asyncio.Task[Any]], None]:
    """What to call when a task has ended, so that an unforeseen error gets into the log.

    Args:
        what: what has failed then, as the beginning of a sentence.
    """

    def tell(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception():
            _logger.error("%s has failed.", what, exc_info=task.exception())

    return tell

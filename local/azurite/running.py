"""An Azurite for the length of a block: for tests, and for programs that need storage for a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from local.part import Part

_PROJECT = Path(__file__).resolve().parents[2]
_READY_SECONDS = 30.0


@contextmanager
def running_azurite(options: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Starts one and stops it at the end; gives the settings that lead to it (`AzureWebJobsStorage`).

    Args:
        options: of `python -m local.azurite`; without any it has free ports and keeps everything in memory.

    Raises:
        PartFailed: it did not become ready.
    """
    command = [sys.executable, "-m", "local.azurite", "--with-parent", *options]
    part = Part("azurite", command, environment=dict(os.environ), folder=_PROJECT, keep_log=True)
    try:
        yield dict(part.wait_ready(_READY_SECONDS)["env"])
    finally:
        part.stop()

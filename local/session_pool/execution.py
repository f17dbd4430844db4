"""One execution as the core knows it, whatever the API version of its request."""

from __future__ import annotations

from dataclasses import dataclass

from local.session_pool.outcome import Outcome


@dataclass(frozen=True)
class ExecutionRequest:
    """One execution asked for.

    Attributes:
        code: what to run.
        timeout_seconds: 1 to 220.
        told_timeout: whether the caller chose it, which the text after a timeout says.
        stream_length: most characters of each stream.
        asynchronous: answer at once; the caller will ask for the outcome.
        empty_kernel: run it in an interpreter of its own, without the session's variables.
    """

    code: str
    timeout_seconds: float
    told_timeout: bool
    stream_length: int
    asynchronous: bool = False
    empty_kernel: bool = False


@dataclass
class ExecutionRecord:
    """One execution that was accepted; `outcome` is None until it has ended."""

    id: str
    identifier: str
    asynchronous: bool
    outcome: Outcome | None = None

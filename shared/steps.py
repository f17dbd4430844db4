"""What a chat says and what it costs, as data: no import of AutoGen comes with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One message, as people see it.

    Attributes:
        index: from 1.
        agent: `CodeWriter` or `CodeExecutor`.
        content: the message.
        exit_code: of the code that the message reports on; None where it reports on none.
        pictures: names of the pictures that the code returned.
    """

    index: int
    agent: str
    content: str
    exit_code: int | None = None
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens of all model calls of a chat together."""

    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together; a model that both name is named once."""
        names = [*filter(None, self.model.split(", ")), *filter(None, other.model.split(", "))]
        return Usage(
            ", ".join(dict.fromkeys(names)),
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.total_tokens + other.total_tokens,
        )

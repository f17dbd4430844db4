"""Which code a message of the writer holds, and how a session is to run it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autogen.coding import CodeBlock
    from markdown_it import MarkdownIt

TERMINATE = "TERMINATE"
PYTHON_LABELS = frozenset({"python", "py", "python3"})
SHELL_MAGICS = {"sh": "%%sh", "bash": "%%bash", "shell": "%%bash"}
RUN_LABELS = PYTHON_LABELS | SHELL_MAGICS.keys()

_LAST_LINE_TERMINATE = re.compile(r"(?:^|\n)[ \t]*TERMINATE[ \t.!*`]*\Z")
# On a line of its own it may be bold, code or a heading.
_ENDS_WITH_TERMINATE = re.compile(r"(?:(?:^|\n)[ \t*`#>]+)?\bTERMINATE[\s.!*`_]*\Z")


@dataclass(frozen=True)
class FencedCode:
    """A fenced block as written: `language` is the first word behind the fence, lower case, or empty."""

    language: str
    code: str


class UnsupportedLanguage(ValueError):
    """A block in a language that a session does not run; the text tells the model what to write instead."""


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # As HTML, a tag such as a reasoning model's </think> would swallow a fence below it. Nobody reads the inline parts.
    parser = MarkdownIt("commonmark").disable(["html_block", "inline"])
    # The first parse fills the parser's tables, and a second thread would meet them half full.
    parser.parse("text")
    return parser


def fenced_code(message: str) -> list[FencedCode]:
    """The fenced blocks of a Markdown message, in order, as CommonMark defines them, also between HTML tags.

    A fence that is never closed reaches to the end of the message. TERMINATE as the last line of a block
    is the model's word to us, not code.
    """
    blocks = []
    for token in _parser().parse(message):
        if token.type == "fence":
            language = token.info.strip().split(maxsplit=1)[:1]
            code = _LAST_LINE_TERMINATE.sub("", token.content.rstrip())
            if code.strip():
                blocks.append(FencedCode(language[0].lower() if language else "", code))
    return blocks


def says_finished(message: str) -> bool:
    """Whether a message ends the chat: its last word is TERMINATE and no block of it is labelled as code to run.

    An answer may show output, a table or a configuration in a fence of its own.
    """
    return bool(_ENDS_WITH_TERMINATE.search(message)) and not any(
        block.language in RUN_LABELS for block in fenced_code(message)
    )


def without_terminate(message: str) -> str:
    """The message as people should read it."""
    return _ENDS_WITH_TERMINATE.sub("", message).strip()


def cell(language: str, code: str) -> str:
    """What a session's IPython kernel runs for a block.

    Args:
        language: as written behind the fence, any case; empty when it was not named.
        code: the block's text.

    Raises:
        UnsupportedLanguage: the session cannot run it.
    """
    label = language.strip().lower()
    if label in PYTHON_LABELS or (not label and _compiles(code)):
        return code
    if label in SHELL_MAGICS:
        return f"{SHELL_MAGICS[label]}\n{code}"
    what = f"'{label[:30]}'" if label else "without a language"
    raise UnsupportedLanguage(
        f"This block, {what}, was not run: the session runs python and bash. "
        "Write the code again in one block that starts with ```python."
    )


def _compiles(code: str) -> bool:
    try:
        compile(code, "<block>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


class MarkdownBlocks:
    """AutoGen's `CodeExtractor` over CommonMark fences.

    AutoGen's own extractor, one regular expression, misses `~~~`, attributes behind the language and fences
    that are not closed, and takes a fence inside a longer fence for its end.
    """

    def extract_code_blocks(self, message: Any) -> list[CodeBlock]:
        """The blocks of a message, which is a string, a list of content parts, or None."""
        from autogen.coding import CodeBlock

        return [CodeBlock(code=block.code, language=block.language) for block in fenced_code(_plain(message))]


def _plain(message: Any) -> str:
    if isinstance(message, list):
        parts = [part.get("text") for part in message if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return message if isinstance(message, str) else ""

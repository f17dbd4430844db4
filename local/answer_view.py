"""Shows a reply at the terminal: question, code, what the session printed, answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

WRITER, RUNNER = "CodeWriter", "CodeExecutor"
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`\n]*$")
# Output of a session may hold sequences that reprogram a terminal, and marks that reorder its text.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LINES_SHOWN = 400


class Segment(NamedTuple):
    """A piece of a message: prose, or the inside of a fenced block."""

    text: str
    is_code: bool = False
    language: str = ""


def printable(text: str) -> str:
    """The text without what a terminal would take as a command."""
    return _UNSAFE.sub("", _ANSI.sub("", text.replace("\r\n", "\n")))


def segments(message: str) -> Iterator[Segment]:
    """Splits a message at its fences (CommonMark's: a block without an end reaches to the message's end)."""
    lines: list[str] = []
    fence, language = "", ""
    for line in message.split("\n"):
        match = _FENCE.match(line)
        opens = match is not None and not fence
        closes = bool(fence) and line.strip() == line.strip()[:1] * len(line.strip()) and line.strip().startswith(fence)
        if not opens and not closes:
            lines.append(line)
            continue
        if any(text.strip() for text in lines):
            yield Segment("\n".join(lines).strip("\n"), bool(fence), language)
        lines = []
        fence, language = (match[1], match[2].lower()) if match is not None and opens else ("", "")
    if any(text.strip() for text in lines):
        yield Segment("\n".join(lines).strip("\n"), bool(fence), language)


def show_question(console: Console, question: str) -> None:
    """Prints the question under its headline."""
    _headline(console, "Question", "bold")
    _prose(console, question)


def show_reply(console: Console, reply: Mapping[str, Any]) -> None:
    """Prints the steps of a reply and its answer.

    Args:
        console: where to.
        reply: the JSON of a 200 reply.
    """
    result = str(reply.get("result") or "")
    steps = [step for step in reply.get("steps") or [] if isinstance(step, Mapping)]
    for position, step in enumerate(steps):
        content = str(step.get("content") or "")
        if position == len(steps) - 1 and _is_answer(step, content, result):
            continue
        show_step(console, step)
    status = str(reply.get("status") or "")
    _headline(
        console, "Answer" if status == "completed" else f"Not finished: {_STATUS.get(status, status)}", "bold green"
    )
    _prose(console, result or "(there is no answer)")
    for warning in reply.get("warnings") or []:
        _prose(console, f"Note: {warning}")


_STATUS = {
    "budget": "the tokens are used up; these were the writer's last words",
    "cancelled": "it was cancelled; these were the writer's last words",
    "failed": "it failed",
    "turn_limit": "the agents have used up their turns; these were the writer's last words",
    "deadline": "the time is used up; these were the writer's last words",
}


def usage_line(reply: Mapping[str, Any], seconds: float) -> str:
    """How long it took and what it cost, in one line."""
    usage = reply.get("usage")
    if not isinstance(usage, Mapping) or not usage.get("total_tokens"):
        return f"{seconds:.1f} s"
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    model = printable(str(usage.get("model") or "model"))
    return f"{seconds:.1f} s, {model}: {usage['total_tokens']} tokens ({prompt} read, {completion} written)"


def _is_answer(step: Mapping[str, Any], content: str, result: str) -> bool:
    text = re.sub(r"\s*\bTERMINATE\b[\s.*`]*$", "", content).strip()
    return step.get("agent") == WRITER and text == result.strip()


def may_be_answer(step: Mapping[str, Any]) -> bool:
    """Whether a step may turn out to be the answer, which `show_reply` shows under its own headline."""
    content = str(step.get("content") or "")
    return step.get("agent") == WRITER and not any(segment.is_code for segment in segments(content))


def show_step(console: Console, step: Mapping[str, Any]) -> None:
    """Prints one step of a reply under its headline."""
    content = str(step.get("content") or "")
    agent = printable(str(step.get("agent") or "?"))
    if agent == RUNNER:
        code = step.get("exit_code")
        failed = code not in (None, 0)
        title = agent if code is None else f"{agent}, exit code {code}"
        _headline(console, title, "red" if failed else "cyan")
        _prose(console, content.partition("Code output: ")[2] if code is not None else content)
        return
    _headline(console, agent, "magenta")
    for position, segment in enumerate(segments(content)):
        if position:
            console.print()
        if segment.is_code:
            _code(console, segment)
        else:
            _prose(console, segment.text)


def _headline(console: Console, title: str, style: str) -> None:
    console.print()
    if console.is_terminal:
        console.print(Rule(Text(title, style=style), align="left", style="dim"))
    else:
        console.print(Text(f"=== {title}"), soft_wrap=True)


def _prose(console: Console, text: str) -> None:
    _indented(console, Text(_shortened(printable(text).strip("\n"))))


def _code(console: Console, segment: Segment) -> None:
    code = _shortened(printable(segment.text))
    language = {"py": "python", "python3": "python", "": "python", "sh": "bash"}.get(segment.language, segment.language)
    highlighted = Syntax("", language, theme="ansi_dark", background_color="default").highlight(code)
    highlighted.rstrip()
    _indented(console, highlighted)


def _indented(console: Console, text: Text) -> None:
    # Text that is piped elsewhere keeps its lines; at a terminal they are wrapped inside the margin.
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, 2)))
    else:
        console.print(text, soft_wrap=True)


def _shortened(text: str) -> str:
    lines = text.split("\n")
    if len(lines) <= _LINES_SHOWN:
        return text
    half = _LINES_SHOWN // 2
    return "\n".join([*lines[:half], f"... {len(lines) - 2 * half} lines not shown ...", *lines[-half:]])

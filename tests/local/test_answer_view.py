from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from local.answer_view import Segment, printable, segments, show_question, show_reply, usage_line

STEPS = [
    {"index": 1, "agent": "CodeWriter", "content": "I compute it.\n\n```python\nprint(6 * 7)\n```"},
    {
        "index": 2,
        "agent": "CodeExecutor",
        "content": "exitcode: 0 (execution succeeded)\nCode output: stdout:\n42",
        "exit_code": 0,
    },
    {"index": 3, "agent": "CodeWriter", "content": "It is 42.\n\nTERMINATE"},
]


def shown(reply: dict[str, Any], *, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=terminal, color_system="truecolor" if terminal else None)
    show_question(console, "What is 6 * 7?")
    show_reply(console, reply)
    return out.getvalue()


def test_whole_path_is_shown_in_order() -> None:
    text = shown({"status": "completed", "result": "It is 42.", "steps": STEPS})
    assert text.splitlines() == [
        "",
        "=== Question",
        "What is 6 * 7?",
        "",
        "=== CodeWriter",
        "I compute it.",
        "",
        "print(6 * 7)",
        "",
        "=== CodeExecutor, exit code 0",
        "stdout:",
        "42",
        "",
        "=== Answer",
        "It is 42.",
    ]


def test_code_is_highlighted_at_a_terminal() -> None:
    text = shown({"status": "completed", "result": "It is 42.", "steps": STEPS}, terminal=True)
    assert "print(6 * 7)" not in text
    assert "print(6 * 7)" in printable(text)


def test_long_code_is_not_broken_in_a_pipe() -> None:
    line = f"x = '{'a' * 200}'"
    step = {"index": 1, "agent": "CodeWriter", "content": f"```python\n{line}\n```"}
    assert line in shown({"status": "turn_limit", "result": "", "steps": [step]}).splitlines()


@pytest.mark.parametrize(("status", "words"), [("turn_limit", "turns"), ("deadline", "time"), ("odd", "odd")])
def test_unfinished_chat_says_why(status: str, words: str) -> None:
    text = shown({"status": status, "result": "so far", "steps": STEPS, "warnings": ["a picture is missing"]})
    assert "=== Answer" not in text
    assert words in text.partition("=== Not finished")[2]
    assert "It is 42." in text
    assert "Note: a picture is missing" in text


def test_long_output_is_cut_in_the_middle() -> None:
    content = "Code output: stdout:\n" + "\n".join(str(number) for number in range(5000))
    text = shown(
        {"status": "completed", "result": "x", "steps": [{"agent": "CodeExecutor", "content": content, "exit_code": 0}]}
    )
    assert "4601 lines not shown" in text
    assert "4999" in text.splitlines()


@pytest.mark.parametrize("reply", [{}, {"steps": None, "result": None}, {"steps": [1, {}], "usage": 3}])
def test_incomplete_reply_is_shown_as_far_as_it_goes(reply: dict[str, Any]) -> None:
    assert "(there is no answer)" in shown(reply)
    assert usage_line(reply, 1.25) == "1.2 s"


def test_usage_line() -> None:
    usage = {"model": "m", "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert usage_line({"usage": usage}, 2.0) == "2.0 s, m: 15 tokens (10 read, 5 written)"


def test_terminal_is_not_reprogrammed() -> None:
    evil = "\x1b]0;title\x07\x1b[2J\x9b31mred\u202eback\rover [bold]kept[/bold]"
    assert printable(evil) == "31mredbackover [bold]kept[/bold]"
    text = shown({"status": "completed", "result": evil, "steps": []})
    assert "\x1b" not in text
    assert "[bold]kept[/bold]" in text


@given(st.text())
def test_printable_keeps_no_control_characters(text: str) -> None:
    kept = printable(text)
    assert not any((ord(letter) < 32 and letter not in "\n\t") or 127 <= ord(letter) < 160 for letter in kept)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("plain", [Segment("plain")]),
        ("```py\na\n```", [Segment("a", True, "py")]),
        ("x\n~~~~\n```\n~~~~\ny", [Segment("x"), Segment("```", True, ""), Segment("y")]),
        ("```python\na\n\nb", [Segment("a\n\nb", True, "python")]),
        ("````\n```\n````", [Segment("```", True, "")]),
        ("", []),
        ("use ```x``` inline", [Segment("use ```x``` inline")]),
    ],
)
def test_segments(message: str, expected: list[Segment]) -> None:
    assert list(segments(message)) == expected


@given(st.lists(st.sampled_from(["```", "```python", "~~~", "a", "  b", "", "text"]), max_size=12))
def test_segments_lose_no_line_but_fences(lines: list[str]) -> None:
    found = [line for segment in segments("\n".join(lines)) for line in segment.text.split("\n") if line.strip()]
    kept = [line for line in lines if line.strip() and not line.startswith(("```", "~~~"))]
    assert [line for line in found if not line.startswith(("```", "~~~"))] == kept

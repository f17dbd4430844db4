"""What the model reads of an execution."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.execution_text import clip, describe
from shared.session_wire import Execution, Picture


def text(execution: Execution, limit: int = 1000) -> str:
    return describe(execution, timeout_seconds=60, limit=limit, picture_name="picture-1.png")


def test_streams_and_result_are_told_apart() -> None:
    assert text(Execution(True, "42\n", "careful\n", 2)) == "stdout:\n42\n\nstderr:\ncareful\n\nresult:\n2"


def test_values_are_shown_as_json_and_text_as_text() -> None:
    assert text(Execution(True, "", "", {"a": [1, None]})) == 'result:\n{"a": [1, null]}'
    assert text(Execution(True, "", "", "é")) == "result:\né"


def test_silence_is_said() -> None:
    assert text(Execution(True, "", "")) == "(no output)"


def test_a_picture_is_a_note_and_never_its_bytes() -> None:
    shown = text(Execution(True, "", "", None, Picture("image/png", b"\x89PNG" * 1000)))
    assert shown == "result:\n[picture-1.png: shown to the user]"


def test_colours_of_a_traceback_are_removed() -> None:
    assert text(Execution(False, "", "\x1b[0;31mKeyError\x1b[0m: 'a'")) == "stderr:\nKeyError: 'a'"


def test_a_long_traceback_keeps_its_head_and_its_end() -> None:
    trace = "Traceback (most recent call last)\n" + "  line\n" * 5000 + "ValueError: the reason"
    shown = text(Execution(False, "x" * 5000, trace), limit=1000)
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("ValueError: the reason")
    assert "characters left out" in shown
    assert len(shown) < 1200


def test_a_timeout_is_advice() -> None:
    shown = text(Execution(False, "", "Request timed out waiting for code execution to complete after 60 seconds"))
    assert "within 60 seconds" in shown
    assert "Request timed out" not in shown


def test_a_killed_kernel_is_advice() -> None:
    for words in ("Execution aborted", "Kernel restarted"):
        assert "memory" in text(Execution(False, "", words))


def test_success_with_warnings_is_shown_as_it_is() -> None:
    assert text(Execution(True, "", "Execution aborted? no")) == "stderr:\nExecution aborted? no"


@given(st.text(max_size=300), st.integers(1, 100))
def test_clipping_keeps_both_ends_and_counts_the_rest(whole: str, limit: int) -> None:
    cut = clip(whole, limit)
    if len(whole) <= limit:
        assert cut == whole
        return
    assert f"[... {len(whole) - limit} characters left out ...]" in cut
    assert cut.startswith(whole[: limit // 2])
    assert cut.endswith(whole[len(whole) - (limit - limit // 2) :])

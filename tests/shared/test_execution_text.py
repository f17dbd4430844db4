"""What the model reads of an execution."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.execution_text import clip, describe
from shared.pictures import ShownPicture
from shared.session_wire import Execution, Picture


def text(execution: Execution, limit: int = 1000) -> str:
    return describe(execution, limit=limit)


def test_streams_and_result_are_told_apart() -> None:
    assert text(Execution(True, "42\n", "careful\n", 2)) == "stdout:\n42\n\nstderr:\ncareful\n\nresult:\n2"


def test_values_are_shown_as_json_and_text_as_text() -> None:
    assert text(Execution(True, "", "", {"a": [1, None]})) == 'result:\n{"a": [1, null]}'
    assert text(Execution(True, "", "", "é")) == "result:\né"


def test_silence_is_said() -> None:
    assert text(Execution(True, "", "")) == "(no output)"


def test_a_picture_is_a_note_and_never_its_bytes() -> None:
    picture = Picture("image/png", b"\x89PNG" * 1000)
    shown = describe(Execution(True, "", "", None, picture), limit=1000, picture=ShownPicture("picture-1.png", picture))
    assert shown == "result:\n[picture-1.png: shown to the user]"


def test_a_picture_without_room_is_not_said_to_be_shown() -> None:
    execution = Execution(True, "", "", None, Picture("image/png", b"x"))
    shown = describe(execution, limit=1000, picture=ShownPicture("picture-9.png", None))
    assert "picture-9.png: not shown" in shown


IMAGE = {"type": "image", "format": "png", "base64_data": "QUJD" * 50}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (IMAGE, '"[data that cannot be shown]"'),
        ([1, IMAGE], '[1, "[data that cannot be shown]"]'),
        ({"a": {"b": [IMAGE]}, "c": "é"}, '{"a": {"b": ["[data that cannot be shown]"]}, "c": "é"}'),
        ({"text": "base64_data"}, '{"text": "base64_data"}'),
    ],
)
def test_bytes_in_a_result_are_hidden_at_any_depth(result: Any, expected: str) -> None:
    assert text(Execution(True, "", "", result)) == f"result:\n{expected}"


def test_a_result_too_deep_to_be_written_is_said() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert text(Execution(True, "", "", deep)) == "result:\n[data that cannot be shown]"


def test_colours_of_a_traceback_are_removed() -> None:
    assert text(Execution(False, "", "\x1b[0;31mKeyError\x1b[0m: 'a'")) == "stderr:\nKeyError: 'a'"


def test_a_long_traceback_keeps_its_head_and_its_end() -> None:
    trace = "Traceback (most recent call last)\n" + "  line\n" * 5000 + "ValueError: the reason"
    shown = text(Execution(False, "x" * 5000, trace), limit=1000)
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("ValueError: the reason")
    assert "characters left out" in shown
    assert len(shown) < 1200


def test_a_stream_that_the_session_cut_says_that_more_is_missing() -> None:
    shown = text(Execution(True, "x" * 1500, "", stdout_cut=True), limit=1000)
    assert (
        shown
        == "stdout:\n" + "x" * 1000 + "\n[... at least 500 characters left out; the session itself cut the rest ...]"
    )


def test_a_short_stream_that_the_session_cut_says_so_too() -> None:
    shown = text(Execution(True, "x" * 500, "", stdout_cut=True), limit=1000)
    assert shown == "stdout:\n" + "x" * 500 + "\n[... the session itself cut the rest ...]"


def test_a_traceback_that_the_session_cut_is_said_to_have_no_end() -> None:
    execution = Execution(False, "", "x" * 500, stderr_cut=True)
    assert "the end of the traceback is missing" in text(execution)
    assert "Print less" in text(execution)
    assert "traceback" not in text(Execution(True, "", "x" * 500, stderr_cut=True))


def test_a_timeout_is_advice() -> None:
    words = "Request timed out waiting for code execution to complete after 60 seconds"
    shown = text(Execution(False, "", words, timeout_seconds=17))
    assert "within 17 seconds" in shown
    assert "Request timed out" not in shown
    assert text(Execution(False, "", words, timeout_seconds=17, stderr_cut=True)) == shown


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

"""Which code a message holds."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import code_blocks
from shared.code_blocks import (
    RUN_LABELS,
    FencedCode,
    MarkdownBlocks,
    UnsupportedLanguage,
    cell,
    fenced_code,
    says_finished,
    without_terminate,
)

CODE_LINES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="`~\r\n\x0b\x0c\x1c\x1d\x1e\t\0"), max_size=30)
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Look:\n```python\nprint(1)\n```\nDone.", [FencedCode("python", "print(1)")]),
        ("```py\nx = 1\n\nprint(x)", [FencedCode("py", "x = 1\n\nprint(x)")]),
        ("~~~sh\nls\n~~~", [FencedCode("sh", "ls")]),
        ('```python title="a.py"\n1\n```', [FencedCode("python", "1")]),
        ("````python\nprint('```')\n```\n````", [FencedCode("python", "print('```')\n```")]),
        ("1. first\n   ```Python\n   x = 1\n   ```", [FencedCode("python", "x = 1")]),
        ("```python\nprint(1)\n```\n```bash\nls\n```", [FencedCode("python", "print(1)"), FencedCode("bash", "ls")]),
        ("```python\nprint(1)\nTERMINATE\n```", [FencedCode("python", "print(1)")]),
        ("```python\nprint(1)\nTERMINATE", [FencedCode("python", "print(1)")]),
        ("```\r\nx = 1\r\n```", [FencedCode("", "x = 1")]),
        ("```python\n```", []),
        ("<think>\nplan\n\n</think>\n```python\n1\n```", [FencedCode("python", "1")]),
        ("</think>\n```python\n1\n```", [FencedCode("python", "1")]),
        ("<details>\n```python\n1\n```\n</details>", [FencedCode("python", "1")]),
        ("Use `print(1)` here.", []),
        ("", []),
    ],
)
def test_finds_the_blocks_that_a_reader_sees(message: str, expected: list[FencedCode]) -> None:
    assert fenced_code(message) == expected


@given(CODE_LINES)
def test_a_block_comes_out_as_it_was_written(lines: list[str]) -> None:
    code = "\n".join(lines)
    found = fenced_code(f"Text before.\n\n```python\n{code}\n```\n\nText behind.")
    if not code.strip() or "TERMINATE" in code:
        return
    assert found == [FencedCode("python", code.rstrip())]


@given(st.text())
def test_any_message_can_be_read(message: str) -> None:
    blocks = fenced_code(message)
    assert all(block.code.strip() for block in blocks)
    assert not (says_finished(message) and RUN_LABELS & {block.language for block in blocks})


def test_threads_that_meet_at_the_first_message_all_find_its_block() -> None:
    found: list[list[FencedCode]] = []

    def read(barrier: threading.Barrier) -> None:
        barrier.wait(10)
        found.append(fenced_code("```python\n1\n```"))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            code_blocks._parser.cache_clear()
            code_blocks._parser()
            barrier = threading.Barrier(8)
            threads = [threading.Thread(target=read, args=(barrier,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
    finally:
        sys.setswitchinterval(interval)
    assert found == [[FencedCode("python", "1")]] * 800


@pytest.mark.parametrize("content", [None, 3, [{"type": "image_url"}], [{"text": "hello"}]])
def test_messages_without_text_have_no_blocks(content: object) -> None:
    assert MarkdownBlocks().extract_code_blocks(content) == []


@pytest.mark.parametrize(
    "end", ["TERMINATE", "TERMINATE.", "**TERMINATE**", "TERMINATE\n\n", "`TERMINATE`", "# TERMINATE"]
)
def test_the_last_word_ends_the_chat(end: str) -> None:
    message = f"The answer is 42.\n\n{end}"
    assert says_finished(message)
    assert without_terminate(message) == "The answer is 42."


@pytest.mark.parametrize("label", ["text", "", "json", "csv", "output"])
def test_an_answer_may_show_something_in_a_fence(label: str) -> None:
    message = f"The output was:\n```{label}\n13.49\n```\nTERMINATE"
    assert says_finished(message)
    assert without_terminate(message) == f"The output was:\n```{label}\n13.49\n```"


@pytest.mark.parametrize("label", ["python", "Py", "python3", "sh", "bash", "shell"])
def test_code_runs_before_the_chat_ends(label: str) -> None:
    assert not says_finished(f"```{label}\n13.49\n```\nTERMINATE")


@pytest.mark.parametrize(
    "message",
    ["I shall say TERMINATE when I am done.", "```python\nprint(1)\n```\nTERMINATE", "", "DETERMINATE", "terminate"],
)
def test_other_messages_do_not_end_it(message: str) -> None:
    assert not says_finished(message)


@pytest.mark.parametrize("label", ["python", "py", "Python3", "PYTHON", " python "])
def test_python_runs_as_written(label: str) -> None:
    assert cell(label, "print(1)") == "print(1)"


def test_an_unlabelled_block_runs_if_it_compiles() -> None:
    assert cell("", "x = 1") == "x = 1"
    with pytest.raises(UnsupportedLanguage, match="```python"):
        cell("", "SELECT * FROM t")


@pytest.mark.parametrize(("label", "magic"), [("bash", "%%bash"), ("sh", "%%sh"), ("Shell", "%%bash")])
def test_shell_blocks_become_cell_magics(label: str, magic: str) -> None:
    assert cell(label, "ls -l") == f"{magic}\nls -l"


@pytest.mark.parametrize("label", ["javascript", "sql", "json", "c++"])
def test_other_languages_are_refused_with_advice(label: str) -> None:
    with pytest.raises(UnsupportedLanguage, match="python and bash"):
        cell(label, "1")

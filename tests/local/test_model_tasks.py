"""What the stand-in model answers, and whether the code that it writes computes the right numbers."""

from __future__ import annotations

import contextlib
import io
import math
import re
import statistics
from datetime import date, datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.model_tasks import DISCLAIMER, reply_to

Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def code_for(*messages: Message) -> str:
    """The code that the stand-in writes next; it has to be the reply's only block, without an end."""
    reply = reply_to(messages)
    blocks = re.findall(r"```python\n(.*?)```", reply, re.DOTALL)
    assert len(blocks) == 1, reply
    assert "TERMINATE" not in reply
    return str(blocks[0])


def printed(code: str) -> str:
    """What code that needs the standard library only prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})  # noqa: S102 - that is what is tested
    return out.getvalue().strip()


def outcome(task: str) -> str:
    return printed(code_for(user(task)))


def succeeded(output: str) -> Message:
    return user(f"exitcode: 0 (execution succeeded)\nCode output: stdout:\n{output}")


def sieve(end: int) -> list[int]:
    return [n for n in range(2, end) if all(n % d for d in range(2, n))]


FIBONACCI = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("What is 6 * 7?", 42),
        ("What is six times seven?", 42),
        ("What is 007 + 1?", 8),
        ("compute (1 + 2) ^ 3 - 4", 23),
        ("What is 1.05 * 2?", 2.1),
        ("ten divided by 4", 2.5),
        ("What is the mean of 1, 2, 3 and 10?", statistics.fmean([1, 2, 3, 10])),
        ("the median of 5, 1, 3", 3),
        ("What is the sum of 1234567.891 and -0.5?", 1234567.391),
        ("maximum of 3, 9, 4", 9),
        ("smallest of 3, -9, 4", -9),
        ("factorial of 20", math.factorial(20)),
        ("How many days are there between 2024-02-28 and 2026-03-01?", (date(2026, 3, 1) - date(2024, 2, 28)).days),
        ("the first 10 primes", sieve(30)[:10]),
        ("all primes below 97", sieve(97)),
        ("all primes up to 97", sieve(98)),
        ("the first 10 Fibonacci numbers", FIBONACCI),
    ],
)
def test_code_computes(task: str, expected: Any) -> None:
    assert eval(outcome(task)) == pytest.approx(expected)  # noqa: S307 - the output of the code above


def test_standard_deviation_names_both_kinds() -> None:
    numbers = [2.5, 4, 4, 9]
    assert outcome("standard deviation of 2.5, 4, 4, 9").splitlines() == [
        f"sample standard deviation: {statistics.stdev(numbers):.4f}",
        f"population standard deviation: {statistics.pstdev(numbers):.4f}",
    ]


@pytest.mark.parametrize(("number", "words"), [(97, "97 is prime"), (91, "91 is not prime"), (1, "1 is not prime")])
def test_prime_or_not(number: int, words: str) -> None:
    assert outcome(f"Is {number} prime?") == words


def test_time_is_now() -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    told = datetime.strptime(outcome("What time is it?"), "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
    assert before <= told <= datetime.now(timezone.utc)


@settings(deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=2, max_size=20))
def test_sum_of_any_numbers(numbers: list[int]) -> None:
    assert outcome(f"What is the sum of {', '.join(map(str, numbers))}?") == str(sum(numbers))


@pytest.mark.parametrize("opening", ["```python", "```py", "```"])
def test_given_code_is_run_as_it_is(opening: str) -> None:
    label = opening.strip("`") or "python"
    assert f"```{label}\nx = 6\nprint(x * 7)\n```" in reply_to(
        [user(f"Please run\n{opening}\nx = 6\nprint(x * 7)\n```")]
    )


def test_run_takes_the_rest_without_the_files() -> None:
    assert code_for(user("run: print(1)\n\nFiles in /mnt/data: a.csv (3 bytes)")) == "print(1)\n"


def test_csv_is_described() -> None:
    code = code_for(user("Describe it\n\nFiles in /mnt/data: notes 1.txt (3 bytes), sales.csv (95 bytes)"))
    compile(code, "<block>", "exec")
    assert "read_csv('/mnt/data/sales.csv')" in code


def test_plot_has_the_function_and_the_span() -> None:
    code = code_for(user("Plot x^2 from -3 to 3.5"))
    compile(code, "<block>", "exec")
    assert "np.linspace(-3, 3.5, 500)" in code
    assert "axes.plot(x, x**2)" in code
    assert "/mnt/data/plot.png" in code


def test_answer_has_the_output_the_disclaimer_and_the_end() -> None:
    messages = [user("What is 6 * 7?"), assistant("code"), succeeded("42\n\nstderr:\nsome warning")]
    assert reply_to(messages) == f"The answer is 42.\n\n{DISCLAIMER}\n\nTERMINATE"


def test_answer_never_holds_a_block() -> None:
    messages = [user("run: print(text)"), assistant("code"), succeeded("```python\nprint(1)\n```")]
    assert "```" not in reply_to(messages)


def test_result_section_is_taken_where_nothing_was_printed() -> None:
    ran = user("exitcode: 0 (execution succeeded)\nnote: x\nCode output: result:\n42")
    assert reply_to([user("What is 6 * 7?"), assistant("code"), ran]).startswith("The answer is 42.\n")


def test_failed_code_is_told_with_its_reason() -> None:
    failed = user(
        "exitcode: 1 (execution failed)\nCode output: stderr:\nTraceback\nZeroDivisionError: division by zero"
    )
    reply = reply_to([user("What is 1 / 0?"), assistant("code"), failed])
    assert reply.startswith("The code failed: ZeroDivisionError: division by zero\n")
    assert reply.endswith("\nTERMINATE")


def test_repair_after_a_failure() -> None:
    messages = [user("Add up the prices '12.50 EUR', '3,25 EUR' and 'about 4'")]
    first = code_for(*messages)
    with pytest.raises(ValueError, match="could not convert"):
        printed(first)
    failed = user("exitcode: 1 (execution failed)\nCode output: stderr:\nValueError: could not convert")
    messages += [assistant(reply_to(messages)), failed]
    output = printed(code_for(*messages))
    assert output == f"{12.5 + 3.25 + 4:.2f}"
    messages += [assistant(reply_to(messages)), succeeded(output)]
    assert reply_to(messages).startswith("The prices add up to 19.75.\n")
    assert reply_to([*messages[:-1], failed]).startswith("The code failed: ValueError")


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "x"}], [user("Write me a poem")], [user("")]])
def test_unknown_task_ends_with_the_disclaimer(messages: list[Message]) -> None:
    reply = reply_to(messages)
    assert "```" not in reply
    assert reply.endswith(f"{DISCLAIMER}\n\nTERMINATE")


WORDS = st.sampled_from(
    ["sum of ", "primes up to ", "factorial of ", "plot ", "prices ", "'", "```", "\n", "Files in /mnt/data: ",
     ".csv (", "days ", "2024-99-99 ", "9" * 5000, "٣", "(", ")", "**", "1.5", "0",
     "run:", "exitcode: 0", "Code output: "]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(WORDS, max_size=12).map("".join))
CONTENTS = st.one_of(
    TEXTS,
    st.none(),
    st.integers(),
    st.lists(st.one_of(st.integers(), st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS | st.none()}))),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant", "system"]) | st.integers(), "content": CONTENTS}
    ),
    max_size=6,
)


@settings(deadline=None)
@given(MESSAGES)
def test_any_messages_get_code_or_an_end(messages: list[Message]) -> None:
    reply = reply_to(messages)
    assert reply.endswith("\nTERMINATE") or "```" in reply


@pytest.mark.parametrize("piece", ["`", "``` ", "(", "1 ", "Files in /mnt/data: ", "a", "'1"])
def test_long_texts_are_read_in_time(piece: str) -> None:
    text = "prices Files in /mnt/data: " + piece * (100_000 // len(piece))
    before = datetime.now(timezone.utc)
    assert reply_to([user(text)])
    assert (datetime.now(timezone.utc) - before).total_seconds() < 20

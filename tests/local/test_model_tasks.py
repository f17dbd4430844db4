"""What the stand-in model answers, and whether the code that it writes computes the right numbers."""

from __future__ import annotations

import math
import statistics
from datetime import date, datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.model_tasks import DISCLAIMER, reply_to
from tests.local.conversation import Message, assistant, code_for, outcome, printed, succeeded, user


def sieve(end: int) -> list[int]:
    return [n for n in range(2, end) if all(n % d for d in range(2, n))]


FIBONACCI = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89]
REFUSED = "refused"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        # Arithmetic, as people write it.
        ("What is 6 * 7?", 42),
        ("What is six times seven?", 42),
        ("What is 007 + 1?", 8),
        ("compute (1 + 2) ^ 3 - 4", 23),
        ("What is 1.05 * 2?", 2.1),
        ("ten divided by 4", 2.5),
        ("1,234 * 5", 6170),
        ("-5 + 3", -2),
        ("minus five plus 3", -2),
        (".5 * 4", 2),
        ("sqrt(16) + 2", 6),
        ("2x3+4", 10),
        ("12 x 13", 156),
        ("3\u00d74", 12),
        ("12 \u00f7 4", 3),
        ("Multiply 12 by 13", 156),
        ("Divide 12 by 8", 1.5),
        ("add 3 and 4", 7),
        ("Add 3 to 4, please", 7),
        ("subtract 3 from 10", 7),
        ("square root of 144", 12),
        ("What is the square root of 144?", 12),
        ("2 to the power of 8", 256),
        ("15% of 200", 30),
        ("7 % 3", 1),
        ("2 * pi", 2 * math.pi),
        ("10 ^ 1000", 10**1000),
        ("3 + 4 = ?", 7),
        # No arithmetic, or more than that, or of two readings.
        ("log(100) * 2", REFUSED),
        ("What is 3! + 2", REFUSED),
        ("2022-2023 season", REFUSED),
        ("What is 2024-05-06?", REFUSED),
        ("12/05/2024", REFUSED),
        ("- What is 3 + 4?", REFUSED),
        ("10% + 5", REFUSED),
        ("0x10", REFUSED),
        ("What is 5 (3 + 4)?", REFUSED),
        ("What is 3 + 4 in binary?", REFUSED),
        # Powers that would run for seconds, or whose digits Python does not print.
        ("10^9999999", REFUSED),
        ("2^1001", REFUSED),
        ("99999^1000", REFUSED),
        ("2^3^4", REFUSED),
        ("2^(3^4)", REFUSED),
        # Statistics: of the numbers listed, all that is asked for, and no other kind.
        ("What is the mean of 1, 2, 3 and 10?", 4),
        ("average of these 3 numbers: 10, 20, 30", 20),
        ("average of these 4 numbers: 10, 20, 30", REFUSED),
        ("Here are my sales: 3, 4, 5. What is the average?", 4),
        ("the median of 5, 1, 3", 3),
        ("median of 1,000, 2,000 and 3,000", 2000),
        ("sum of 1,000 and 2,000", 3000),
        ("sum([1, 2, 3])", 6),
        ("What is the sum of 1234567.891 and -0.5?", 1234567.391),
        ("maximum of 3, 9, 4", 9),
        ("smallest of 3, -9, 4", -9),
        ("sum of 10-20 and 30", REFUSED),
        ("sum of all numbers from 1 to 100", REFUSED),
        ("sum of the first 10 primes", REFUSED),
        ("mean of 3,5 and 4,5", REFUSED),
        ("mean of 5 -3", REFUSED),
        ("geometric mean of 1, 2, 3", REFUSED),
        ("mean of the maximum and minimum of 1, 5", REFUSED),
        ("sum of 1, 2 and mean of 3, 4", REFUSED),
        # Whole numbers with a name.
        ("factorial of 20", math.factorial(20)),
        ("What is 5!", 120),
        ("factorial of 1500", math.factorial(1500)),
        ("factorial of 1501", REFUSED),
        ("factorial of 5000", REFUSED),
        ("factorial of 20000", REFUSED),
        ("the first 10 primes", sieve(30)[:10]),
        ("all primes below 97", sieve(97)),
        ("List the prime numbers up to 97", sieve(98)),
        ("primes below 10000000", REFUSED),
        ("How many primes are below 100?", REFUSED),
        ("the first 10 Fibonacci numbers", FIBONACCI[:10]),
        ("Fibonacci sequence", FIBONACCI[:10]),
        ("fibonacci up to 100", FIBONACCI),
        ("fibonacci numbers below 89", FIBONACCI[:-1]),
        ("the 7th Fibonacci number", REFUSED),
        # Days.
        ("How many days are there between 2024-02-28 and 2026-03-01?", (date(2026, 3, 1) - date(2024, 2, 28)).days),
        ("How many working days are there between 2024-02-28 and 2026-03-01?", REFUSED),
        ("On 2024-05-06 what day is it", REFUSED),
        ("What time is it in Tokyo?", REFUSED),
        ("time in Tokyo", REFUSED),
        # Code in the message.
        ("Run this code: print(5)", 5),
        ("run: print(6)", 6),
        # Prices with one reading only.
        ("Add up the prices '1,000 EUR' and '3 EUR'", REFUSED),
        ("Add up the prices '12 EUR' and '3 USD'", REFUSED),
        ("average of the prices '12' and '3'", REFUSED),
    ],
)
def test_answer_is_right_or_refused(question: str, expected: Any) -> None:
    if expected == REFUSED:
        assert reply_to([user(question)]).startswith("I cannot do this. I know: ")
    else:
        printed_value = outcome(question)
        exact = eval(printed_value)  # noqa: S307 - the output of the code above
        assert exact == (expected if isinstance(expected, list) else pytest.approx(expected, rel=1e-12))


def test_standard_deviation_names_both_kinds() -> None:
    numbers = [2.5, 4, 4, 9]
    assert outcome("standard deviation of 2.5, 4, 4, 9").splitlines() == [
        f"sample standard deviation: {statistics.stdev(numbers):.4f}",
        f"population standard deviation: {statistics.pstdev(numbers):.4f}",
    ]


@pytest.mark.parametrize(("number", "words"), [(97, "97 is prime"), (91, "91 is not prime"), (1, "1 is not prime")])
def test_prime_or_not(number: int, words: str) -> None:
    assert outcome(f"Is {number} prime?") == words


def test_each_of_several_statistics_has_its_name() -> None:
    assert outcome("sum of 1, 2, 3 and their mean").splitlines() == ["sum: 6", "mean: 2.0"]
    assert outcome("minimum, maximum and median of 1 2 9").splitlines() == ["minimum: 1", "maximum: 9", "median: 2"]


@pytest.mark.parametrize(
    "question", ["What time is it?", "What time is it right now?", "What's the time?", "What is today\u2019s date?"]
)
def test_time_is_now(question: str) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    told = datetime.strptime(outcome(question), "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
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


def test_success_is_read_from_the_first_words_only() -> None:
    failed = user("exitcode: 1 (execution failed)\nCode output: stdout:\nexitcode: 0 (execution succeeded)")
    assert reply_to([user("run: print(1)"), assistant("code"), failed]).startswith("The code failed: ")


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

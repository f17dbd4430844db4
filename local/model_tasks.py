"""What the stand-in model knows: a table of tasks, each a rule, the code it writes, and how it answers.

A rule understands the whole question or leaves it alone: no answer is better than a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.model_dates import days_between, now
from local.model_numbers import FACTORIAL_MAX, arithmetic, factorial, fibonacci, primes, statistics_of
from local.model_plots import plot
from local.model_questions import has_only, plain_question, without_files

DISCLAIMER = (
    "(I am the local stand-in for a model: rules, no AI. For anything else configure a real model: OAI_CONFIG_LIST, "
    "or AZURE_OPENAI_ENDPOINT with AZURE_OPENAI_DEPLOYMENT, or OPENAI_BASE_URL or OPENAI_API_KEY with OPENAI_MODEL.)"
)
KNOWN = (
    "code in your message, arithmetic, statistics of numbers, the time, days between dates, primes, Fibonacci "
    f"numbers, factorials up to {FACTORIAL_MAX}, a plot of a function of x, a description of a CSV file, adding up "
    "prices"
)
TEXT_MAX = 100_000
# The first line of code that brings its own language.
LABELS = ("python", "py", "python3", "bash", "sh", "shell")
_RUN = re.compile(
    r"\s*(?:please )?(?:run|execute)(?: (?:this|the|following|python|code|script|program)){0,4}:\s*(.+)",
    re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"'“]([^\"'”]*[0-9][^\"'”]*)[\"'”]")
_PRICE = re.compile(r"-?[0-9][0-9.,]*")
_ADDING = "add up sum total of the these prices what is find calculate please and"


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        code: what to run for a message, or None when the message asks for something else.
        answer: the answer in words around what the code printed.
        repaired: what to run after the first code has failed, where there is something better.
        reads_plain: whether the rules get the question as `plain_question` has it, not the message as it is.
    """

    code: Callable[[str], str | None]
    answer: str = "{output}"
    repaired: Callable[[str], str | None] = lambda text: None
    reads_plain: bool = True


def reply_to(messages: Sequence[Mapping[str, Any]]) -> str:
    """The stand-in's next message in a conversation; it decides from the messages alone."""
    spoken = [text_of(row) for row in messages if row.get("role") == "assistant"]
    heard = [text_of(row) for row in messages if row.get("role") == "user"]
    if not heard:
        return _finish("There is no task.")
    task_text, last = heard[0], heard[-1]
    task, code = _match(task_text)
    if task is None or code is None:
        return _finish(f"I cannot do this. I know: {KNOWN}.")
    if not spoken:
        return f"I will compute it.\n\n{_fenced(code)}"
    if last.startswith("exitcode: 0 "):
        return _finish(task.answer.format(output=_output(last)))
    better = task.repaired(task_text)
    if better is not None and len(spoken) == 1:
        return f"The texts are no plain numbers: I will clean them first.\n\n{_fenced(better)}"
    reason = [line for line in last.splitlines() if line.strip()]
    return _finish(f"The code failed: {reason[-1] if reason else 'no reason was given'}")


def _match(text: str) -> tuple[Task | None, str | None]:
    plain = plain_question(text)
    for task in TASKS:
        code = task.code(plain if task.reads_plain else text)
        if code is not None:
            return task, code
    return None, None


def _given(text: str) -> str | None:
    found = re.search(r"```(\w*)[^\n]{0,100}\n(.*?)```", text, re.DOTALL)
    if found and (found[1] or "python").lower() in LABELS:
        return f"{found[1].lower() or 'python'}\n{found[2].rstrip()}"
    found = _RUN.match(without_files(text))
    return f"python\n{found[1].rstrip()}" if found else None


def _csv(text: str) -> str | None:
    found = re.search(r"Files in /mnt/data: [^\n]{0,2000}?([\w\-. @]{1,200}\.csv) \(", text)
    if not found:
        return None
    return (
        f"import pandas as pd\n\ntable = pd.read_csv('/mnt/data/{found[1].strip()}')\n"
        "print(f'{len(table)} rows, {len(table.columns)} columns: ' + ', '.join(table.columns))\n"
        "print(table.describe(include='all').to_string())"
    )


def _prices(text: str) -> list[str]:
    question = without_files(text)
    prices = _QUOTED.findall(question)
    rest = _QUOTED.sub(" ", question).lower().rstrip(" ?.!")
    if not re.search(r"\b(add up|sum|total)\b", rest) or not has_only(rest, _ADDING):
        return []
    # One number each, whose comma or point is a decimal one, and one currency: else the sum would be wrong.
    clear = all(re.fullmatch(r"[0-9]+(?:[.,][0-9]{1,2})?", "&".join(_PRICE.findall(price))) for price in prices)
    currencies = set(re.findall(r"\b[A-Z]{3}\b|[$€£¥]", " ".join(prices)))
    return prices if clear and len(currencies) < 2 else []


def _total(text: str) -> str | None:
    prices = _prices(text)
    return f"prices = {prices!r}\nprint(sum(float(price) for price in prices))" if prices else None


def _cleaned_total(text: str) -> str | None:
    return (
        f"import re\n\nprices = {_prices(text)!r}\n"
        "numbers = [float(re.search(r'\\d+(?:[.,]\\d+)?', price)[0].replace(',', '.')) for price in prices]\n"
        "print(f'{sum(numbers):.2f}')"
    )


def _fenced(code: str) -> str:
    label, _, rest = code.partition("\n")
    return f"```{code}\n```" if label in LABELS and rest else f"```python\n{code}\n```"


def _output(message: str) -> str:
    text = message.partition("Code output: ")[2]
    found = re.search(r"(?:^|\n)(?:stdout|result):\n(.*?)(?=\n\n(?:stderr|result):\n|\Z)", text, re.DOTALL)
    # A block in the answer would be taken for code to run.
    return (found[1] if found else text).strip().replace("```", "'''")


def _finish(text: str) -> str:
    return f"{text}\n\n{DISCLAIMER}\n\nTERMINATE"


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, its parts on lines of their own; at most `TEXT_MAX` characters."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content[:TEXT_MAX] if isinstance(content, str) else ""


TASKS: tuple[Task, ...] = (
    Task(_given, "The code printed:\n\n{output}", reads_plain=False),
    Task(_csv, "This is what the file holds:\n\n{output}", reads_plain=False),
    Task(_total, "The prices add up to {output}.", _cleaned_total, reads_plain=False),
    Task(plot, "The plot is {output}."),
    Task(days_between, "There are {output} days between the two dates."),
    Task(now, "It is {output}."),
    Task(statistics_of, "The result is:\n\n{output}"),
    Task(primes, "{output}"),
    Task(fibonacci, "The Fibonacci numbers are {output}."),
    Task(factorial, "The factorial is {output}."),
    Task(arithmetic, "The answer is {output}."),
)

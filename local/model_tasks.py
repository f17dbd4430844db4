"""What the stand-in model knows: a table of tasks, each a rule, the code it writes, and how it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DISCLAIMER = (
    "(I am the local stand-in for a model: rules, no AI. For anything else configure a real model: OAI_CONFIG_LIST, "
    "or AZURE_OPENAI_ENDPOINT with AZURE_OPENAI_DEPLOYMENT, or OPENAI_BASE_URL or OPENAI_API_KEY with OPENAI_MODEL.)"
)
KNOWN = (
    "code in your message, arithmetic, statistics of numbers, the time, days between dates, primes, Fibonacci "
    "numbers, factorials, a plot of a function, a description of a CSV file, adding up prices"
)
NUMBER = r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?"
TEXT_MAX = 100_000
ARITHMETIC_MAX = 2_000
# The first line of code that brings its own language.
LABELS = ("python", "py", "python3", "bash", "sh", "shell")


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        code: what to run for a message, or None when the message asks for something else.
        answer: the answer in words around what the code printed.
        repaired: what to run after the first code has failed, where there is something better.
    """

    code: Callable[[str], str | None]
    answer: str = "{output}"
    repaired: Callable[[str], str | None] = lambda text: None


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
    if "exitcode: 0" in last:
        return _finish(task.answer.format(output=_output(last)))
    better = task.repaired(task_text)
    if better is not None and len(spoken) == 1:
        return f"The texts are no plain numbers: I will clean them first.\n\n{_fenced(better)}"
    reason = [line for line in last.splitlines() if line.strip()]
    return _finish(f"The code failed: {reason[-1] if reason else 'no reason was given'}")


def _match(text: str) -> tuple[Task | None, str | None]:
    for task in TASKS:
        code = task.code(text)
        if code is not None:
            return task, code
    return None, None


def _given(text: str) -> str | None:
    found = re.search(r"```(\w*)[^\n]{0,100}\n(.*?)```", text, re.DOTALL)
    if found and (found[1] or "python").lower() in LABELS:
        return f"{found[1].lower() or 'python'}\n{found[2].rstrip()}"
    found = re.match(r"\s*run:\s*(.+)", text, re.DOTALL | re.IGNORECASE)
    return f"python\n{_without_files(found[1]).rstrip()}" if found else None


def _time(text: str) -> str | None:
    if not re.search(r"\b(time|date) is it|current (time|date)|what day is", text, re.IGNORECASE):
        return None
    return (
        "from datetime import datetime, timezone\n\nprint(datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M:%S UTC'))"
    )


def _days(text: str) -> str | None:
    dates = re.findall(r"\b(\d{4})-(\d\d?)-(\d\d?)\b", text)
    if len(dates) != 2 or "day" not in text.lower():
        return None
    first, second = (", ".join(str(int(part)) for part in date) for date in dates)
    return f"from datetime import date\n\nprint(abs((date({second}) - date({first})).days))"


def _statistics(text: str) -> str | None:
    wanted = {
        "standard deviation": (
            "print(f'sample standard deviation: {statistics.stdev(numbers):.4f}')\n"
            "print(f'population standard deviation: {statistics.pstdev(numbers):.4f}')"
        ),
        "variance": (
            "print(f'sample variance: {statistics.variance(numbers):.4f}')\n"
            "print(f'population variance: {statistics.pvariance(numbers):.4f}')"
        ),
        "median": "print(statistics.median(numbers))",
        "mean": "print(statistics.fmean(numbers))",
        "average": "print(statistics.fmean(numbers))",
        "sum": "print(sum(numbers))",
        "minimum": "print(min(numbers))",
        "smallest": "print(min(numbers))",
        "maximum": "print(max(numbers))",
        "largest": "print(max(numbers))",
    }
    numbers = re.findall(rf"(?<![\w.]){NUMBER}(?![\w])", text)
    chosen = [code for word, code in wanted.items() if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    if len(numbers) < 2 or not chosen:
        return None
    return f"import statistics\n\nnumbers = [{', '.join(_plain(n) for n in numbers)}]\n{chosen[0]}"


def _primes(text: str) -> str | None:
    test = "def is_prime(n):\n    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))\n\n\n"
    if found := re.search(r"first (\d{1,4}) primes?|first (\d{1,4}) prime numbers", text, re.IGNORECASE):
        count = found[1] or found[2]
        return (
            f"from itertools import count, islice\n\n\n{test}"
            f"print(list(islice((n for n in count(2) if is_prime(n)), {int(count)})))"
        )
    if found := re.search(r"primes? (?:numbers )?(below|under|up to) (\d{1,6})", text, re.IGNORECASE):
        end = int(found[2]) + (found[1].lower() == "up to")
        return f"{test}print([n for n in range({end}) if is_prime(n)])"
    if found := re.search(r"\bis (\d{1,12}) (?:a )?prime", text, re.IGNORECASE):
        return f"{test}print({int(found[1])}, 'is prime' if is_prime({int(found[1])}) else 'is not prime')"
    return None


def _fibonacci(text: str) -> str | None:
    if "fibonacci" not in text.lower():
        return None
    found = re.search(r"\b(\d{1,3})\b", text)
    count = int(found[1]) if found else 10
    return (
        f"numbers = [0, 1]\nwhile len(numbers) < {count}:\n    numbers.append(numbers[-1] + numbers[-2])\n"
        f"print(numbers[:{count}])"
    )


def _factorial(text: str) -> str | None:
    found = re.search(r"factorial of (\d{1,4})|\b(\d{1,4})!|(\d{1,4}) factorial", text, re.IGNORECASE)
    return f"import math\n\nprint(math.factorial({int(next(filter(None, found.groups())))}))" if found else None


def _plot(text: str) -> str | None:
    if not re.search(r"\b(plot|draw|graph)\b", text, re.IGNORECASE):
        return None
    found = re.search(r"\b(sin|cos|tan|exp|sqrt|log)\b", text)
    power = re.search(r"\bx\s*(?:\^|\*\*)\s*([2-9])", text)
    span = re.search(rf"from ({NUMBER}) to ({NUMBER})", text)
    low, high = (_plain(span[1]), _plain(span[2])) if span else ("0", "10")
    formula = f"x**{power[1]}" if power else f"np.{found[1] if found else 'sin'}(x)"
    name = formula.replace("np.", "").replace("**", "^")
    return (
        "import matplotlib.pyplot as plt\nimport numpy as np\n\n"
        f"x = np.linspace({low}, {high}, 500)\nfigure, axes = plt.subplots()\naxes.plot(x, {formula})\n"
        f"axes.set(title='{name}', xlabel='x', ylabel='{name}')\naxes.grid(True)\n"
        "figure.savefig('/mnt/data/plot.png', dpi=120)\nplt.close(figure)\nprint('saved as /mnt/data/plot.png')"
    )


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
    if not re.search(r"\b(prices|add up)\b", text, re.IGNORECASE):
        return []
    return re.findall(r"[\"'“]([^\"'”]*\d[^\"'”]*)[\"'”]", text)


def _total(text: str) -> str | None:
    prices = _prices(text)
    return f"prices = {prices!r}\nprint(sum(float(price) for price in prices))" if prices else None


def _cleaned_total(text: str) -> str | None:
    return (
        f"import re\n\nprices = {_prices(text)!r}\n"
        "numbers = [float(re.search(r'\\d+(?:[.,]\\d+)?', price)[0].replace(',', '.')) for price in prices]\n"
        "print(f'{sum(numbers):.2f}')"
    )


def _arithmetic(text: str) -> str | None:
    words = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "^": "**"}
    numerals = (
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    )
    line = text[:ARITHMETIC_MAX].lower()
    for word, sign in words.items():
        line = line.replace(word, sign)
    for value, word in enumerate(numerals):
        line = re.sub(rf"\b{word}\b", str(value), line)
    found = re.search(r"[\d(][\d\s.()+\-*/%]{0,250}[\d)]", line)
    if not found or not re.search(r"[+\-*/%]", found[0]) or len(found[0]) > 200:
        return None
    expression = re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"\s+", " ", found[0]).strip())
    # Towers of powers would run for ever.
    if expression.count("**") > 1:
        return None
    try:
        compile(expression, "<question>", "eval")
    except (SyntaxError, ValueError):
        return None
    return f"print({expression})"


def _without_files(text: str) -> str:
    return text.partition("\n\nFiles in /mnt/data:")[0]


def _plain(number: str) -> str:
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    return sign + re.sub(r"^0+(?=\d)", "", digits)


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
    Task(_given, "The code printed:\n\n{output}"),
    Task(_csv, "This is what the file holds:\n\n{output}"),
    Task(_total, "The prices add up to {output}.", _cleaned_total),
    Task(_plot, "The plot is {output}."),
    Task(_days, "There are {output} days between the two dates."),
    Task(_time, "It is {output}."),
    Task(_statistics, "The result is:\n\n{output}"),
    Task(_primes, "{output}"),
    Task(_fibonacci, "The Fibonacci numbers are {output}."),
    Task(_factorial, "The factorial is {output}."),
    Task(_arithmetic, "The answer is {output}."),
)

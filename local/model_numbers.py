"""The stand-in model's rules for numbers; each takes a plain question and gives code, or None."""

from __future__ import annotations

import re

from local.model_expressions import expression
from local.model_questions import plain_number

FACTORIAL_MAX = 1500
_NUMBER = r"(?:(?<![\w.)])-)?(?:[0-9]{1,300}(?:\.[0-9]{1,300})?|\.[0-9]{1,300})"
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SIGNS = (
    (r"[\u00d7\u00b7]", "*"),
    (r"\u00f7", "/"),
    (r"\bplus\b", "+"),
    (r"\bminus\b", "-"),
    (r"\b(?:times|multiplied by)\b", "*"),
    (r"\bdivided by\b", "/"),
    (r"\b(?:raised )?to the power of\b", "^"),
    # Not in 0x10, which is a number.
    (r"(?<=[0-9)])(?<!\b0) ?x ?(?=[0-9(.-])", " * "),
)
_SENTENCES = (
    (rf"multiply ({_NUMBER}) (?:by|with|and) ({_NUMBER})", r"\1 * \2"),
    (rf"divide ({_NUMBER}) by ({_NUMBER})", r"\1 / \2"),
    (rf"add ({_NUMBER}) to ({_NUMBER})", r"\1 + \2"),
    (rf"subtract ({_NUMBER}) from ({_NUMBER})", r"\2 - \1"),
    (rf"({_NUMBER}) ?(?:%|percent) of ({_NUMBER})", r"\1 * \2 / 100"),
    (rf"(?:the )?square root of ({_NUMBER})", r"sqrt(\1)"),
)
_DATE = re.compile(r"\b(?:[0-9]{4}([-/])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/])[0-9]{1,2}\2[0-9]{4})\b")

_STATISTICS = {
    "standard deviation": (
        "print(f'sample standard deviation: {statistics.stdev(numbers):.4f}')\n"
        "print(f'population standard deviation: {statistics.pstdev(numbers):.4f}')"
    ),
    "variance": (
        "print(f'sample variance: {statistics.variance(numbers):.4f}')\n"
        "print(f'population variance: {statistics.pvariance(numbers):.4f}')"
    ),
    "median": "statistics.median(numbers)",
    "mean": "statistics.fmean(numbers)",
    "average": "statistics.fmean(numbers)",
    "sum": "sum(numbers)",
    "total": "sum(numbers)",
    "add": "sum(numbers)",
    "minimum": "min(numbers)",
    "smallest": "min(numbers)",
    "maximum": "max(numbers)",
    "largest": "max(numbers)",
}
# What may stand in such a question without changing it.
_FILLERS = (
    "a all are arithmetic data dataset find following for get give here is list me my number numbers "
    "population sample set the their them these this those up value values what "
    "ages grades lengths measurements prices results sales scores temperatures weights"
)
_LIST = re.compile(r"#(?:(?:, ?and |[,;] ?| ?& ?| and | )#)+")
_COUNT = re.compile(r"(?:^| )# (?:numbers|values)\b")
# S a statistic, @ the numbers, o the word "of": which sentences are understood.
_SENTENCE = re.compile(r"(?:S(?:,+S)*o?)?,*@,*(?:S(?:,+S)*o?)?")


def arithmetic(question: str) -> str | None:
    """Calculates, when the question is a formula and nothing else."""
    formula = question
    for number, word in enumerate(_NUMERALS):
        formula = re.sub(rf"\b{word}\b", str(number), formula)
    for pattern, form in _SENTENCES:
        if found := re.fullmatch(pattern, formula):
            formula = found.expand(form)
    for pattern, sign in _SIGNS:
        formula = re.sub(pattern, sign, formula)
    formula = " ".join(formula.split())
    if _DATE.search(formula) or not re.search(r"[+\-*/%^(]", formula.lstrip("-")):
        return None
    source = expression(formula, library="math", functions=["sqrt"])
    if source is None:
        return None
    return f"import math\n\nprint({source})" if "math." in source else f"print({source})"


def statistics_of(question: str) -> str | None:
    """Statistics of the numbers that the question lists."""
    found = _named_and_listed(question)
    if found is None:
        return None
    names, numbers = found
    lines = []
    for name in names:
        code = _STATISTICS[name]
        label = f"'{name}:', " if len(names) > 1 else ""
        lines.append(code if code.startswith("print") else f"print({label}{code})")
    listed = ", ".join(map(plain_number, numbers))
    return "\n".join(["import statistics\n", f"numbers = [{listed}]", *lines])


def _named_and_listed(question: str) -> tuple[list[str], list[str]] | None:
    # A negative number behind a space may be a subtraction.
    if re.search(r"[#@]|[0-9] -[0-9.]", question):
        return None
    text = " ".join(re.sub(r"[\[\]()]", " ", question).split()).replace(" ,", ",")
    numbers = re.findall(_NUMBER, text)
    shape = re.sub(_NUMBER, "#", text)
    listed = _LIST.search(shape)
    if listed is None or not _is_clear_list(listed[0]):
        return None
    before, after = shape[: listed.start()], shape[listed.end() :]
    # "these 3 numbers": not one of them.
    if _COUNT.search(before) and numbers[0] == str(len(numbers) - 1):
        before, numbers = _COUNT.sub("", before), numbers[1:]
    names: list[str] = []
    letters = "".join(_letter(word, names) for word in _words(f"{before} @ {after}"))
    return (names, numbers) if names and _SENTENCE.fullmatch(letters) else None


def _words(text: str) -> list[str]:
    return re.findall(r"standard deviation|[a-z']+|[^a-z'\s]", text)


def _letter(word: str, names: list[str]) -> str:
    if word in _STATISTICS:
        names.append(word)
        return "S"
    if word in ("and", ","):
        return ","
    if word in (":", ".", "?", *_FILLERS.split()):
        return ""
    return {"of": "o", "@": "@"}.get(word, "unknown")


def _is_clear_list(listed: str) -> bool:
    """Whether a comma can only separate: `3,5 and 4,5` may be two decimal fractions."""
    return "#,#" not in listed or re.fullmatch(r"#(?:,#)+|#(?:,#){2,},? and #", listed) is not None


def primes(question: str) -> str | None:
    """Lists primes, or tests one number."""
    test = "def is_prime(n):\n    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))\n\n\n"
    if found := re.fullmatch(r"(?:the )?first ([0-9]{1,4}) primes?(?: numbers)?", question):
        return (
            f"from itertools import count, islice\n\n\n{test}"
            f"print(list(islice((n for n in count(2) if is_prime(n)), {int(found[1])})))"
        )
    limit = r"(?:all )?(?:the )?primes?(?: numbers)? (below|under|less than|smaller than|up to) ([0-9]{1,6})"
    if found := re.fullmatch(limit, question):
        return f"{test}print([n for n in range({int(found[2]) + (found[1] == 'up to')}) if is_prime(n)])"
    if found := re.fullmatch(r"is ([0-9]{1,12}) (?:a )?prime(?: number)?", question):
        return f"{test}print({int(found[1])}, 'is prime' if is_prime({int(found[1])}) else 'is not prime')"
    return None


def fibonacci(question: str) -> str | None:
    """Lists Fibonacci numbers: the first ones, or those up to a limit."""
    limit = r"(?:all )?(?:the )?fibonacci(?: numbers| sequence| series)? (below|under|less than|up to) ([0-9]{1,30})"
    if found := re.fullmatch(limit, question):
        sign = "<=" if found[1] == "up to" else "<"
        return (
            f"numbers = []\na, b = 0, 1\nwhile a {sign} {int(found[2])}:\n    numbers.append(a)\n    a, b = b, a + b\n"
            "print(numbers)"
        )
    first = r"(?:the )?(?:first )?(?:([0-9]{1,3}) )?(?:numbers of the )?fibonacci(?: numbers| sequence| series)?"
    found = re.fullmatch(first, question)
    if found is None:
        return None
    count = int(found[1] or 10)
    return (
        f"numbers = [0, 1]\nwhile len(numbers) < {count}:\n    numbers.append(numbers[-1] + numbers[-2])\n"
        f"print(numbers[:{count}])"
    )


def factorial(question: str) -> str | None:
    """The factorial of a number that Python can print the result of."""
    found = re.fullmatch(r"(?:the )?factorial of ([0-9]{1,4})|([0-9]{1,4})!|([0-9]{1,4}) factorial", question)
    number = int(next(filter(None, found.groups()))) if found else FACTORIAL_MAX + 1
    return f"import math\n\nprint(math.factorial({number}))" if number <= FACTORIAL_MAX else None

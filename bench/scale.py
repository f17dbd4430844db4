"""Sizing on paper: the tables of docs/scale.md, from assumptions that each have an option.

    python -m bench.scale
    python -m bench.scale --model-seconds 12 --input-tokens 30000 --chats 250000

Nothing is measured here. Means are Little's law: how many there are at once is how many come in a second times how many
seconds each stays. Three standard deviations (of a Poisson number, its square root) come on top, since they do not come
evenly.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

STEPS = (10, 1_000, 10_000, 100_000, 1_000_000)
DEVIATIONS = 3
_ASSUMED = "assumed"


def _given(value: float, meaning: str, source: str = _ASSUMED, *, least: float = 0) -> Any:
    return field(default=value, metadata={"meaning": meaning, "source": source, "least": least})


@dataclass(frozen=True)
class Load:
    """What a chat is like, and what one unit of everything carries."""

    peak_share: float = _given(0.15, "share of a day's chats that its busiest hour has", least=1 / 24)
    model_calls: float = _given(3, "calls of the model in a chat")
    model_seconds: float = _given(5, "seconds of one")
    executions: float = _given(2, "executions in a chat")
    execution_seconds: float = _given(2, "seconds of one")
    overhead_seconds: float = _given(
        0.007, "the app's own part of a chat, in seconds", "docs/benchmarks.md", least=0.001
    )
    input_tokens: float = _given(6_000, "tokens that a chat's calls read, together", least=1)
    output_tokens: float = _given(1_000, "tokens that they write, together")
    chats_per_session: float = _given(2, "chats of one conversation, which has one session", least=1)
    pause_seconds: float = _given(60, "seconds between two of them")
    cooldown_seconds: float = _given(300, "seconds that an idle session is kept", "infra/main.bicep, the least")
    pool_sessions: float = _given(600, "sessions of one pool", "the service's maximum", least=1)
    http_concurrency: float = _given(32, "HTTP requests of one instance at once", "infra/main.bicep", least=1)
    model_capacity: float = _given(50, "thousands of tokens a minute that the model gives", "infra/main.bicep")
    run_seconds: float = _given(120, "seconds of a run", least=1)
    run_concurrency: float = _given(32, "runs of one instance at once", "host.json, 16 + 16")
    instance_gb: float = _given(2, "memory of one instance in GB", "infra/main.bicep")
    input_price: float = _given(0.75, "USD for a million tokens read", "gpt-5.4-mini, April 2026")
    output_price: float = _given(4.50, "USD for a million tokens written", "the same")
    session_price: float = _given(0.03, "USD for a session, each hour begun", "April 2026")
    gb_second_price: float = _given(0.000026, "USD for a GB-second of Flex Consumption", "East US 2, September 2026")
    call_price: float = _given(0.40, "USD for a million invocations", "the same")

    @property
    def chat_seconds(self) -> float:
        """How long a chat takes."""
        work = self.model_calls * self.model_seconds + self.executions * self.execution_seconds
        return work + self.overhead_seconds

    @property
    def session_seconds(self) -> float:
        """How long a session is there: its chats, the pauses between them, and the cooldown."""
        pauses = (self.chats_per_session - 1) * self.pause_seconds
        return self.chats_per_session * self.chat_seconds + pauses + self.cooldown_seconds

    def per_second(self, chats_per_day: float) -> float:
        """Chats that come in a second of the busiest hour."""
        return chats_per_day * self.peak_share / 3600

    def sessions(self, chats_per_day: float) -> float:
        """Sessions at once, in the mean."""
        return self.per_second(chats_per_day) / self.chats_per_session * self.session_seconds

    def pools(self, chats_per_day: float) -> int:
        """Pools of which each has room for its share, which is a Poisson number of its own."""
        return max(1, math.ceil(self.sessions(chats_per_day) / mean_within(self.pool_sessions)))


def at_most(mean: float) -> int:
    """The number at once that is not exceeded, but for three standard deviations."""
    return math.ceil(mean + DEVIATIONS * math.sqrt(mean))


def mean_within(limit: float) -> float:
    """The largest mean that a limit carries: the other way round."""
    return ((math.sqrt(DEVIATIONS**2 + 4 * limit) - DEVIATIONS) / 2) ** 2


def steps(load: Load, chats: Iterable[int]) -> str:
    """What each step of growth needs."""
    rows = []
    for number in chats:
        rate = load.per_second(number)
        at_once = at_most(rate * load.chat_seconds)
        rows.append(
            (
                f"{number:,}",
                f"{rate:.3g}",
                f"{at_once:,}",
                f"{math.ceil(at_once / load.http_concurrency):,}",
                f"{at_most(load.sessions(number)):,}",
                f"{load.pools(number):,}",
                f"{rate * 60 * (load.input_tokens + load.output_tokens):,.0f}",
                f"{rate * 60 * load.model_calls:,.0f}",
            )
        )
    heading = ("chats a day", "a second", "chats at once", "instances", "sessions at once", "pools")
    return _table((*heading, "tokens a minute", "model calls a minute"), rows)


def units(load: Load) -> str:
    """What one of each carries."""

    def chats_a_day(rate: float) -> str:
        return f"{rate * 3600 / load.peak_share:,.0f}"

    instance = mean_within(load.http_concurrency) / load.chat_seconds
    pool = mean_within(load.pool_sessions) / load.session_seconds * load.chats_per_session
    quota = load.model_capacity * 1000 / 60 / (load.input_tokens + load.output_tokens)
    runs = load.run_concurrency / load.run_seconds
    rows = [
        (f"an instance, {load.http_concurrency:g} requests at once", f"{instance:.3g} chats a second", instance),
        (f"a pool, {load.pool_sessions:g} sessions", f"{pool:.3g} chats a second", pool),
        (f"a deployment, {load.model_capacity * 1000:,.0f} tokens a minute", f"{quota:.3g} chats a second", quota),
        (f"an instance, {load.run_concurrency:g} runs at once", f"{runs * 3600:,.0f} runs an hour", runs),
    ]
    return _table(("one of", "carries", "a day"), [(name, text, chats_a_day(rate)) for name, text, rate in rows])


def costs(load: Load) -> str:
    """What a thousand chats cost, in USD."""
    model = load.input_tokens * load.input_price / 1000 + load.output_tokens * load.output_price / 1000
    hours = math.ceil(load.session_seconds / 3600)
    sessions = 1000 / load.chats_per_session * hours * load.session_price
    alone = 1000 * load.chat_seconds * load.instance_gb * load.gb_second_price
    calls = load.call_price / 1000
    rows = [
        (
            "model",
            f"({_text(load.input_tokens)} x {load.input_price:g} + {_text(load.output_tokens)} x "
            f"{load.output_price:g}) / 1000",
            model,
            model,
        ),
        ("sessions", f"1000 / {load.chats_per_session:g} x {hours} h x {load.session_price:g}", sessions, sessions),
        (
            "app",
            f"1000 x {load.chat_seconds:.4g} s x {load.instance_gb:g} GB x {_text(load.gb_second_price)}",
            alone,
            alone / mean_within(load.http_concurrency),
        ),
        ("invocations", f"{load.call_price:g} / 1000", calls, calls),
    ]
    total = ("together", "", sum(row[2] for row in rows), sum(row[3] for row in rows))
    shown = [(name, how, f"{most:.2f}", f"{least:.2f}") for name, how, most, least in [*rows, total]]
    return _table(("part", "how", "one chat at a time", "instances full"), shown)


def assumptions(load: Load) -> str:
    """The assumptions, each with its option."""
    rows = [
        (f"`--{_option(row.name)}`", _text(getattr(load, row.name)), row.metadata["meaning"], row.metadata["source"])
        for row in fields(load)
    ]
    return _table(("option", "value", "meaning", "from"), rows)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(number: float) -> str:
    return f"{number:,.6f}".rstrip("0").rstrip(".")


def _option(name: str) -> str:
    return name.replace("_", "-")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="Sizing on paper (docs/scale.md).")
    parser.add_argument("--chats", type=int, action="append", help="chats a day; may be repeated")
    for row in fields(Load):
        parser.add_argument(f"--{_option(row.name)}", type=float, default=row.default, help=row.metadata["meaning"])
    options = vars(parser.parse_args())
    chats = options.pop("chats") or STEPS
    if min(chats) < 0:
        parser.error("--chats is 0 at least")
    for row in fields(Load):
        if not row.metadata["least"] <= options[row.name] < math.inf:
            parser.error(f"--{_option(row.name)} is a number, {_text(row.metadata['least'])} at least")
    load = Load(**options)
    for table in (assumptions(load), steps(load, chats), units(load), costs(load)):
        print(table)


if __name__ == "__main__":
    main()

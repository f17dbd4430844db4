"""What a session pool has to do, as data; prints `docs/session_pool_parity.md`.

    python -m tests.parity.requirements > docs/session_pool_parity.md

To add a requirement: give it the next number of its topic and put it, one idea in one sentence, into that topic's file
in `rows/`; say who says so and what kind of evidence that is (`requirement.TAGS`), set `assumed` where it is a guess or
sources contradict each other, and say in `ours` or `differs` what the emulator does if it is not simply that. Write a
test with its id, `@pytest.mark.parity("EXEC-17")`, in the file whose name fits. Print the page again.

`test_requirements.py` fails where one of these is missing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.parity.marks import MarkedTest, marked_tests
from tests.parity.requirement import TAGS, TOPICS, Requirement
from tests.parity.rows import access, executions, files, kinds, older, sessions

REQUIREMENTS = (*access.ROWS, *executions.ROWS, *files.ROWS, *sessions.ROWS, *older.ROWS, *kinds.ROWS)
STANDINGS = {
    "as documented": "the emulator does what a source says",
    "assumed": "it does what we believe: the source is a guess, or sources contradict each other",
    "differs": "it knowingly does something else, and the row says why",
    "not implemented": "the row says what happens instead",
}
INTRODUCTION = """# The local session pool and the service

What Azure Container Apps session pools do, as far as it can be known from outside, and what the emulator in
`local/session_pool` does. **Nothing on this page has met real Azure.** The requirements come from published
specifications, documentation, samples, clients and other people's notes; the tests show that the emulator does what the
row says, not that the service does.

`POOL_ENDPOINT=https://... python -m pytest tests/parity` runs the same tests against a real pool. What fails there
corrects this page first, and then the emulator.

The page is generated: `python -m tests.parity.requirements > docs/session_pool_parity.md`.
"""


def page() -> str:
    """The page."""
    tests = list(marked_tests())
    return "\n".join([INTRODUCTION, *_summary(tests), *_evidence(), *_topics(tests)])


def _summary(tests: Sequence[MarkedTest]) -> Iterator[str]:
    counts = Counter(row.standing for row in REQUIREMENTS)
    yield from _table("standing", "requirements", "meaning")
    for standing, meaning in STANDINGS.items():
        yield f"| {standing} | {counts[standing]} | {meaning} |"
    yield f"| **all** | **{len(REQUIREMENTS)}** | |"
    local = sum(test.local_only for test in tests)
    yield f"\n{len(tests)} tests carry them; {local} of these can run on this machine only.\n"


def _evidence() -> Iterator[str]:
    yield from _table("evidence", "is")
    yield from (f"| {tag} | {meaning} |" for tag, meaning in TAGS.items())


def _topics(tests: Sequence[MarkedTest]) -> Iterator[str]:
    for topic in TOPICS.values():
        yield f"\n## {topic}\n"
        yield from _table("id", "the service", "source", "the emulator", "tests")
        for row in REQUIREMENTS:
            if row.topic == topic:
                source = f"{row.source} ({row.tag})"
                cells = (row.id, row.sentence, source, _ours(row), _count(row, tests))
                yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(*headings: str) -> list[str]:
    return [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]


def _ours(row: Requirement) -> str:
    words = [row.ours, row.differs]
    if row.standing != "as documented":
        assumed = row.assumed and row.standing != "assumed"
        words.insert(0, f"**{row.standing.capitalize()}{', assumed' if assumed else ''}.**")
    return " ".join(filter(None, words)) or "The same."


def _count(row: Requirement, tests: Sequence[MarkedTest]) -> str:
    found = [test for test in tests if row.id in test.ids]
    local = sum(test.local_only for test in found)
    return f"{len(found)}, {local} local" if local else str(len(found))


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")

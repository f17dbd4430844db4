"""The requirements, their tests and their page belong together."""

from __future__ import annotations

import re

from tests.parity.marks import marked_tests
from tests.parity.pool import ROOT
from tests.parity.requirement import GUESSES, TAGS, TOPICS
from tests.parity.requirements import REQUIREMENTS, page

IDS = [row.id for row in REQUIREMENTS]
TESTS = list(marked_tests())


def test_ids_are_unique_and_in_order() -> None:
    prefixes = [prefix for prefix in TOPICS for row in REQUIREMENTS if row.id.startswith(f"{prefix}-")]
    numbers = [prefixes[:place].count(prefix) + 1 for place, prefix in enumerate(prefixes)]
    assert [f"{prefix}-{number:02}" for prefix, number in zip(prefixes, numbers, strict=True)] == IDS


def test_requirements_say_what_they_rest_on() -> None:
    for row in REQUIREMENTS:
        assert row.sentence.endswith("."), row.id
        assert row.source, row.id
        assert set(row.tags) <= TAGS.keys(), row.id
        assert row.assumed or set(row.tags) - GUESSES, f"{row.id} is a guess and has to say so"
        assert row.implemented or row.differs, f"{row.id} has to say what happens instead"


def test_tests_carry_requirements_that_exist() -> None:
    assert [test.name for test in TESTS if not test.ids] == []
    assert [(test.name, id) for test in TESTS for id in test.ids if id not in IDS] == []


def test_what_is_implemented_has_a_test() -> None:
    carried = {id for test in TESTS for id in test.ids}
    assert [row.id for row in REQUIREMENTS if row.implemented and row.id not in carried] == []


def test_the_page_is_what_the_generator_prints() -> None:
    assert (ROOT / "docs" / "session_pool_parity.md").read_text("utf-8") == page() + "\n"


def test_the_page_claims_no_verification() -> None:
    text = page()
    assert "Nothing on this page has met real Azure." in text
    assert not re.search(r"verified|proven", text, re.IGNORECASE)

"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.settings import table


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_machine() -> Iterator[None]:
    """Whatever a developer has exported or keeps in local.settings.json, no test meets it."""
    with pytest.MonkeyPatch.context() as patch:
        for row in table():
            # Empty, not absent: local.settings.json gives way to whatever the environment has.
            patch.setenv(row.name, "")
        yield

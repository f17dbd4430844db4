from __future__ import annotations

import pytest

from tests.local.commands import NO_AZURITE
from tests.needs import need


@pytest.fixture(scope="session")
def installed_azurite() -> None:
    need(NO_AZURITE)

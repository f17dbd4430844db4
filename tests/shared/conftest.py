from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from local.azurite import missing
from local.azurite.running import running_azurite
from shared.settings import Settings
from shared.storage import Storage
from tests.identities import local_identity
from tests.run_scene import SceneFactory, scenes


@pytest.fixture(scope="session")
def azurite() -> Iterator[Settings]:
    """The settings that lead to a storage emulator."""
    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(reason)
    assert not reason
    with running_azurite() as environment:
        yield Settings.from_environment(environment)


@pytest.fixture
def container() -> str:
    """A name for a container and a queue of the test's own."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def storage(azurite: Settings, container: str) -> Iterator[Storage]:
    """That container and that queue, in the emulator."""
    settings = Settings(storage_connection=azurite.storage_connection, run_queue_name=container)
    storage = Storage.from_settings(settings, container=container)
    yield storage
    storage.close()


@pytest.fixture
def scene_of(azurite: Settings) -> Iterator[SceneFactory]:
    """Makes scenes in which runs are carried out."""
    with local_identity():
        yield scenes(azurite.storage_connection)

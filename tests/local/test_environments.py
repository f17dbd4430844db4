"""How long an installation may take; what is installed, and how, is tested with dev.py."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local import environments
from local.environments import Failed, Installation


class Endless:
    """What is never installed."""

    name = "endless"

    def __init__(self, folder: Path, *, optional: bool) -> None:
        self.log = folder / "log"
        self.optional = optional
        self.has_finished = False

    def is_ready(self) -> bool:
        return False

    def prepare(self) -> None:
        """Needs nothing."""

    def commands(self) -> Iterator[list[str]]:
        yield [sys.executable, "-c", "import signal; signal.alarm(100); signal.pause()"]

    def finish(self) -> None:
        self.has_finished = True


@contextmanager
def installing(environment: Endless) -> Iterator[Installation]:
    installation = Installation(environment, ())
    try:
        yield installation
    finally:
        installation.stop()


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)


def test_optional_installation_is_not_waited_for_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    optional, needed = Endless(tmp_path, optional=True), Endless(tmp_path, optional=False)
    with installing(optional) as short, installing(needed) as long:
        assert not short.is_done()
        assert not long.is_done()
        monkeypatch.setattr(environments, "OPTIONAL_INSTALL_SECONDS", 0)
        assert not long.is_done()
        assert short.is_done()
    assert (short.failed, long.failed) == (True, False)
    assert "took too long" in capsys.readouterr().err
    assert not optional.has_finished


def test_needed_installation_has_a_bound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installing(Endless(tmp_path, optional=False)) as installation:
        assert not installation.is_done()
        monkeypatch.setattr(environments, "INSTALL_SECONDS", 0)
        with pytest.raises(Failed, match="Installing endless took too long"):
            installation.is_done()

"""Azurite's installation with npm, as `local.environments` carries it out. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from local.azurite import FOLDER, LOG, SCRIPT
from local.environments import Failed

_PINS = ("package.json", "package-lock.json")


class NodePackages:
    """The folder `.azurite`, with what the lock file here names.

    Args:
        npm: the program.
        optional: what cannot be installed is told, and the rest goes on.
    """

    name = ".azurite"

    def __init__(self, npm: str, *, optional: bool) -> None:
        self.optional = optional
        self.log = LOG
        self._npm = npm
        self._stamp = FOLDER / "dev.json"
        here = Path(__file__).parent
        self._texts = {name: (here / name).read_bytes() for name in _PINS}
        self._digest = hashlib.sha256(b"".join(self._texts.values())).hexdigest()

    def is_ready(self) -> bool:
        """Whether the pinned versions are installed."""
        try:
            installed = json.loads(self._stamp.read_text("utf-8")).get("pins")
        except (OSError, ValueError, AttributeError):
            return False
        return installed == self._digest and SCRIPT.exists()

    def prepare(self) -> None:
        """Makes the folder and puts the lock file there; what the storage keeps in it stays."""
        FOLDER.mkdir(exist_ok=True)
        self._stamp.unlink(missing_ok=True)
        for name, content in self._texts.items():
            (FOLDER / name).write_bytes(content)

    def commands(self) -> Iterator[list[str]]:
        """The command that installs."""
        # Scripts of packages are not needed, so they do not run.
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        # By default npm asks a registry that does not answer for more than ten minutes.
        impatient = ("--fetch-retries=1", "--fetch-timeout=20000")
        yield [self._npm, "ci", "--prefix", str(FOLDER), *quiet, *impatient]

    def finish(self) -> None:
        """Notes that the installation is complete."""
        self._stamp.write_text(json.dumps({"pins": self._digest}), "utf-8")


def wanted() -> list[NodePackages]:
    """What to install: nothing where npm is missing.

    Raises:
        Failed: it is missing in CI, where no test may be skipped for it.
    """
    is_ci = bool(os.environ.get("CI"))
    npm = shutil.which("npm")
    if npm is not None and shutil.which("node") is not None:
        return [NodePackages(npm, optional=not is_ci)]
    if is_ci:
        raise Failed("Node.js with npm is not installed, and the tests have to run with the storage emulator too.")
    return []

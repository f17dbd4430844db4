"""Azurite, the storage emulator that Functions developers use, as a part of the local stack.

It is installed with npm into `.azurite` in the project's folder, in the versions of `package-lock.json` here, which
names no registry: npm asks the one that the machine is configured for. Standard library only: `dev.py` imports this
before anything is installed.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".azurite"
SCRIPT = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
DATA = FOLDER / "data"
LOG = FOLDER / "npm.log"
ACCOUNT = "devstoreaccount1"
# The same in every Azurite in the world, and printed in its documentation.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_CONNECT_SECONDS = 1.0


def missing() -> str:
    """What this machine lacks for Azurite, and what to do, as sentences; empty where it can run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "The storage emulator Azurite needs Node.js with npm: install them, then run this again."
    if not SCRIPT.exists() and LOG.exists():
        return "The installation of the storage emulator Azurite has failed: see .azurite/npm.log, then run this again."
    if not SCRIPT.exists():
        return "The storage emulator Azurite is not installed: run `python3 dev.py up`."
    return ""


def is_listening(first_port: int = 10_000) -> bool:
    """Whether somebody's Azurite, or what listens in its place, takes connections for blobs and queues.

    Args:
        first_port: the blob service's; by default where `UseDevelopmentStorage=true` leads.
    """
    for port in (first_port, first_port + 1):
        try:
            socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS).close()
        except OSError:
            return False
    return True


def connection_string(first_port: int) -> str:
    """The value of `AzureWebJobsStorage` that leads to an Azurite on this machine.

    Args:
        first_port: the blob service's; those of queues and tables follow it.
    """
    services = ("Blob", "Queue", "Table")
    endpoints = (
        f"{name}Endpoint=http://127.0.0.1:{first_port + position}/{ACCOUNT};" for position, name in enumerate(services)
    )
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{''.join(endpoints)}"

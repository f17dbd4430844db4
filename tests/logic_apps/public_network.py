"""A network of its own for a process and its children, where a name of Logic Apps leads to a public address.

Callbacks never go to loopback, and no switch of the app's says otherwise. So the whole stack runs where the
address is a public one: in namespaces of Linux, with the address on the loopback interface and the name in /etc/hosts,
neither of which anybody outside sees.
"""

from __future__ import annotations

import fcntl
import json
import runpy
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.logic_apps.callbacks import HOST

ROOT = Path(__file__).parents[2]
ADDRESS = "20.50.60.70"
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
_SET_FLAGS, _SET_ADDRESS, _SET_NETMASK = 0x8914, 0x8916, 0x891C
_UP = 0x1


def missing() -> str:
    """Why there can be no such network here; empty where there can."""
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("mount") is None:
        return "a network of its own needs Linux with unshare and mount"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, timeout=30, check=False)
    return "" if tried.returncode == 0 else "this machine allows no user namespaces"


def run_inside(module: str, folder: Path, *arguments: str, timeout_seconds: float = 300) -> Any:
    """Runs a module in such a network.

    Args:
        module: its main program prints JSON as its last line.
        folder: for files of the network's and of the module, which gets it as its first argument.
        arguments: of the module.
        timeout_seconds: for all of it.

    Returns:
        What the JSON says.
    """
    command = [*_UNSHARE, sys.executable, "-m", __spec__.name, module, str(folder), *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    if ran.returncode:
        raise AssertionError(f"{module} ended with {ran.returncode}:\n{ran.stdout[-2000:]}\n{ran.stderr[-8000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def _set_up(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _give(control, "lo", "127.0.0.1", "255.0.0.0")
        _give(control, "lo:1", ADDRESS, "255.255.255.255")
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOST}\n", "utf-8")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True, timeout=30)


def _give(control: socket.socket, interface: str, address: str, netmask: str) -> None:
    """An address for an interface, which is up afterwards."""
    name = interface.encode()
    for request, value in ((_SET_ADDRESS, address), (_SET_NETMASK, netmask)):
        row = struct.pack("16sH2s4s8x", name, socket.AF_INET, b"", socket.inet_aton(value))
        fcntl.ioctl(control, request, row)
    fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", name, _UP))


if __name__ == "__main__":
    _set_up(Path(sys.argv[2]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

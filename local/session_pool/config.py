"""Which pools one emulator serves: from the command line, or several from a file.

    {"pools": [{"name": "python", "containerType": "PythonLTS", "maxConcurrentSessions": 10,
                "cooldownPeriodInSeconds": 300, "egress": false, "prewarmed": 2}]}

The names are those of the Azure resource (`Microsoft.App/sessionPools`) where it has one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.session_pool.kinds import NODE, PYTHON, SHELL

POOLS_MAX = 20
SESSIONS_MAX = 600
COOLDOWN_MAX = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


class ConfigError(Exception):
    """The configuration cannot be used; the text says what is wrong with it."""


@dataclass(frozen=True)
class PoolConfig:
    """One pool.

    Attributes:
        name: in its path.
        kind: its `containerType`.
        max_sessions: at most so many at once.
        cooldown_seconds: a session not called for so long is freed; the service knows 300 to 3600.
        prewarmed: so many sessions are kept ready.
        egress: its code reaches the network.
    """

    name: str = "local"
    kind: str = PYTHON
    max_sessions: int = 100
    cooldown_seconds: float = 300
    prewarmed: int = 2
    egress: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError("A pool's name is 1 to 63 letters, digits and hyphens.")
        if self.kind not in (PYTHON, NODE, SHELL):
            raise ConfigError(f"containerType has to be {PYTHON}, {NODE} or {SHELL}.")
        if not 1 <= self.max_sessions <= SESSIONS_MAX:
            raise ConfigError(f"maxConcurrentSessions has to be 1 to {SESSIONS_MAX}.")
        if not 0 < self.cooldown_seconds <= COOLDOWN_MAX:
            raise ConfigError(f"cooldownPeriodInSeconds has to be above 0 and at most {COOLDOWN_MAX:g}.")
        if not 0 <= self.prewarmed <= self.max_sessions:
            raise ConfigError("prewarmed has to be 0 to maxConcurrentSessions.")


_FIELDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "name": ("name", (str,)),
    "containerType": ("kind", (str,)),
    "maxConcurrentSessions": ("max_sessions", (int,)),
    "cooldownPeriodInSeconds": ("cooldown_seconds", (int, float)),
    "prewarmed": ("prewarmed", (int,)),
    "egress": ("egress", (bool,)),
}


def read(path: Path) -> list[PoolConfig]:
    """The pools of a file.

    Raises:
        ConfigError: the file cannot be read, or a pool in it is not of the form.
    """
    try:
        rows = json.loads(path.read_text("utf-8"))["pools"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f'{path.name} is no JSON object with a list "pools" ({type(error).__name__}).') from None
    if not isinstance(rows, list) or not 1 <= len(rows) <= POOLS_MAX:
        raise ConfigError(f"{path.name} has to list 1 to {POOLS_MAX} pools.")
    pools = [_pool(row) for row in rows]
    if len({pool.name.lower() for pool in pools}) < len(pools):
        raise ConfigError("Two pools have the same name.")
    return pools


def _pool(row: Any) -> PoolConfig:
    if not isinstance(row, dict):
        raise ConfigError("A pool has to be an object.")
    values: dict[str, Any] = {}
    for name, value in row.items():
        if name not in _FIELDS:
            raise ConfigError(f"A pool has no {name[:40]!r}; it may have {', '.join(_FIELDS)}.")
        field, types = _FIELDS[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ConfigError(f"{name} is not of its type.")
        values[field] = value
    # The default is for pools of a usual size.
    values.setdefault("prewarmed", min(PoolConfig.prewarmed, values.get("max_sessions", PoolConfig.max_sessions)))
    return PoolConfig(**values)

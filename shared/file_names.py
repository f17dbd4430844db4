"""Which names a file in a session may have."""

from __future__ import annotations

import re

# These characters, and no path (Container Apps documentation, "Upload a file").
_NAME = re.compile(r"[\w\-.@$&=;,#%^()]([\w\- .@$&=;,#%^()]*[\w\-@$&=;,#%^()])?")
_BYTES_MAX = 255


def check_file_name(name: str) -> None:
    """Refuses names that a session does not take, and every path.

    Raises:
        ValueError: with the rule.
    """
    if not _NAME.fullmatch(name) or not name.strip(".") or len(name.encode()) > _BYTES_MAX:
        raise ValueError(
            f"A file name is 1 to {_BYTES_MAX} bytes of letters, digits, spaces and - _ . @ $ & = ; , # % ^ ( ), "
            "without a path, and neither begins with a space nor ends with a space or a dot."
        )

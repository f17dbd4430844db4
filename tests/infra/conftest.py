"""What the tests of the infrastructure share; where their packages are not installed none is collected."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("pycep") is None:
    collect_ignore_glob = ["test_*.py"]

"""Checkov's rules hold, and each one left out says why, beside the resource."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import Infrastructure

REAL = Infrastructure.of_project()
BOUND_SECONDS = 100
# Like --skip-download these keep it from asking servers: for its rules, and, once an hour, for a newer checkov.
OFFLINE = {"no_proxy": "", "BC_SKIP_MAPPING": "TRUE", "CKV_SKIP_PACKAGE_UPDATE_CHECK": "TRUE"}
OPTIONS = ("--framework", "bicep", "--skip-download", "--compact", "--output", "json")


def checked(folder: Path, infra: Infrastructure) -> dict[str, Any]:
    """What checkov says of these files; fails where it asks the network for anything."""
    for path, file in infra.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(file.text, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), address)
        ran = subprocess.run(
            [sys.executable, "-m", "checkov.main", "--directory", str(folder), *OPTIONS],
            env={**os.environ, **proxies, **OFFLINE, "XDG_CACHE_HOME": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=BOUND_SECONDS,
            check=False,
        )
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    report: dict[str, Any] = json.loads(ran.stdout)
    assert ran.returncode == (1 if report["summary"]["failed"] else 0), ran.stderr
    return report


def test_rules_hold_and_each_exception_has_a_reason(tmp_path: Path) -> None:
    report = checked(tmp_path, REAL)
    assert [(row["check_id"], row["resource"]) for row in report["results"]["failed_checks"]] == []
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] >= 20
    reasons = [row["check_result"]["suppress_comment"] for row in report["results"]["skipped_checks"]]
    assert reasons
    assert all(reason.endswith(".") and len(reason.split()) >= 5 for reason in reasons)


def test_a_broken_rule_is_told(tmp_path: Path) -> None:
    with_keys = REAL.changed("modules/model.bicep", "disableLocalAuth: true", "disableLocalAuth: false")
    broken = with_keys.changed("modules/storage.bicep", "'TLS1_2'", "'TLS1_0'")
    failed = {row["check_id"] for row in checked(tmp_path, broken)["results"]["failed_checks"]}
    assert failed == {"CKV_AZURE_236", "CKV_AZURE_44"}

"""What code in a session can reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.pool import Emulator, Pool

OUTSIDE = "http://192.0.2.1/"


def fetching(url: str) -> str:
    return f"import urllib.request; urllib.request.urlopen({url!r}, timeout=5).status"


@pytest.mark.parity("NET-01")
@pytest.mark.usefixtures("_sandboxed")
def test_without_egress_there_is_no_network(pool: Pool, session: str) -> None:
    for url in ("http://pypi.org/", "http://1.1.1.1/"):
        found = pool.run(fetching(url), session)
        assert found["status"] == "Failed"
        assert "URLError" in found["result"]["stderr"]


@pytest.mark.parity("NET-01", "NET-03")
@pytest.mark.local_only("looks for a listener of this machine")
@pytest.mark.usefixtures("_sandboxed")
def test_the_hosts_loopback_is_out_of_reach(local: Emulator, pool: Pool, session: str) -> None:
    found = pool.run(fetching(f"{local.url}/.local/faults"), session)
    assert (found["status"], "URLError" in found["result"]["stderr"]) == ("Failed", True)


@pytest.mark.parity("NET-02")
@pytest.mark.local_only("the network of a real pool stays as it is")
def test_with_egress_there_is_a_network(kinds: Emulator) -> None:
    pool = kinds.pool("open")
    found = pool.result(fetching(f"{kinds.url}/.local/faults"), pool.new_identifier())
    assert found["executionResult"] == 200


@pytest.mark.parity("NET-03")
@pytest.mark.local_only("looks for a file of this machine")
@pytest.mark.usefixtures("_sandboxed")
def test_the_hosts_files_and_environment_are_out_of_sight(
    local: Emulator, pool: Pool, session: str, host_file: Path
) -> None:
    assert local.url
    code = f"import os; os.path.exists({str(host_file)!r}), os.path.exists({str(Path(__file__))!r}), dict(os.environ)"
    file, source, environment = pool.result(code, session)["executionResult"]
    assert (file, source) == (False, False)
    assert "IDENTITY_HEADER" not in environment


@pytest.mark.parity("NET-03")
@pytest.mark.usefixtures("_sandboxed")
def test_processes_of_another_session_are_out_of_sight(pool: Pool, session: str, fresh: str) -> None:
    pool.result("import subprocess; child = subprocess.Popen(['sleep', '97'])", fresh)
    code = "import glob; [open(path, 'rb').read().decode() for path in glob.glob('/proc/[0-9]*/cmdline')]"
    assert any("sleep\x0097" in line for line in pool.result(code, fresh)["executionResult"])
    assert not any("sleep\x0097" in line for line in pool.result(code, session)["executionResult"])


@pytest.mark.parity("NET-04")
def test_a_session_has_no_identity(pool: Pool, session: str) -> None:
    code = "import os; sorted(name for name in os.environ if 'IDENTITY' in name or name.startswith('AZURE_'))"
    assert pool.result(code, session)["executionResult"] == []

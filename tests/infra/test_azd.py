"""What azd reads: azure.yaml, the parameters file, tags; and what it packs."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.bicep import INFRA, MAIN, ROOT, Infrastructure, Name, body, key, values

REAL = Infrastructure.of_project()
# By the schema of azure.yaml, as far as it is used here.
HOOK_KEYS = {"shell", "run", "interactive", "continueOnError"}
# What azd itself sets, whatever the environment says.
OF_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}


def project() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text("utf-8"))
    return content


def parameters() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((INFRA / "main.parameters.json").read_text("utf-8"))
    return {name: row["value"] for name, row in content["parameters"].items()}


def wrong_parameters(infra: Infrastructure, given: dict[str, Any]) -> Iterator[str]:
    """Parameters that do not exist or are missing, defaults that differ, variables that azd would overwrite."""
    wanted = infra.files[MAIN].declared("parameters")
    yield from (f"{name} is no parameter" for name in given.keys() - wanted.keys())
    yield from (f"{name} is not in the file: azd env set does not reach it" for name in wanted.keys() - given.keys())
    variables = []
    for name in given.keys() & wanted.keys() - {"appSettings"}:
        found = re.fullmatch(r"\$\{([A-Z_]+)(?:=([^}]+))?\}", given[name])
        if found is None:
            yield f"{name} comes from no variable"
            continue
        variables.append(found[1])
        default = wanted[name]["default"]
        text = str(default).lower() if isinstance(default, bool) else str("" if default is None else default)
        if (found[2] or "") != text:
            yield f"{name} has the default {found[2]!r} in the file and {text!r} in Bicep"
    variables += given.get("appSettings", {})
    # azd writes outputs into the same environment: the next azd up would read its own output as a choice.
    outputs = infra.files[MAIN].declared("outputs").keys()
    yield from (f"{name} is a parameter's variable and an output" for name in set(variables) & outputs)
    yield from (f"{name} is the variable of two" for name in set(variables) if variables.count(name) > 1)


def test_azure_yaml_is_as_azd_documents() -> None:
    content = project()
    assert content.keys() <= {"name", "metadata", "services", "hooks"}
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", content["name"])
    [(name, service)] = content["services"].items()
    # Without a remote build the package has no packages, or those of the machine that it was made on.
    assert service == {"project": ".", "language": "python", "host": "function", "remoteBuild": True}
    tags = {
        key(part): value
        for _, _, node in REAL.resources()
        for value_ in values(body(node).get("tags"))
        if isinstance(value_, dict)
        for part, value in value_.items()
    }
    assert tags["azd-service-name"] == name


def test_hooks_print_outputs_that_exist() -> None:
    outputs = REAL.files[MAIN].declared("outputs")
    for platforms in project()["hooks"].values():
        assert platforms.keys() == {"posix", "windows"}
        for hook in platforms.values():
            assert hook.keys() <= HOOK_KEYS
            printed = re.findall(r"azd env get-value (\w+)", hook["run"])
            assert printed
            assert set(printed) <= outputs.keys()


def test_resource_group_carries_the_name_of_the_environment() -> None:
    main = REAL.files[MAIN]
    assert main.declared("variables")["tags"]["value"] == {"'azd-env-name'": "environmentName"}
    [group] = main.resources.values()
    assert isinstance(body(group)["tags"], Name)


def test_parameters_file_fits_the_parameters() -> None:
    assert list(wrong_parameters(REAL, parameters())) == []
    assert {"${AZURE_ENV_NAME}", "${AZURE_LOCATION}", "${AZURE_PRINCIPAL_ID}"} <= set(map(str, parameters().values()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"poolSize": "${SESSION_POOL_SIZE}"}, "poolSize is no parameter"),
        ({"poolCount": "${SESSION_POOL_COUNT=3}"}, "poolCount has the default '3' in the file and '1' in Bicep"),
        ({"poolEgress": "true"}, "poolEgress comes from no variable"),
        (
            {"existingOpenAiEndpoint": "${AZURE_OPENAI_ENDPOINT}"},
            "AZURE_OPENAI_ENDPOINT is a parameter's variable",
        ),
        ({"modelName": "${AZURE_OPENAI_MODEL_SKU=gpt-5.4-mini}"}, "AZURE_OPENAI_MODEL_SKU is the variable of two"),
    ],
)
def test_a_fault_in_the_parameters_is_told(change: dict[str, Any], told: str) -> None:
    problems = list(wrong_parameters(REAL, {**parameters(), **change}))
    assert any(told in problem for problem in problems), problems


def test_a_parameter_that_is_left_out_is_told() -> None:
    given = {name: value for name, value in parameters().items() if name != "poolCount"}
    assert list(wrong_parameters(REAL, given)) == ["poolCount is not in the file: azd env set does not reach it"]


# What may lie in the folder beside the project's own files: secrets, and what tools have left.
OF_THE_MACHINE = (
    ".azure",
    ".env",
    ".env.production",
    "OAI_CONFIG_LIST",
    "OAI_CONFIG_LIST.json",
    "app.zip",
    "local.settings.json",
    "node_modules",
)


def left(names: Iterable[str]) -> set[str]:
    """Those of the files and folders at the top that `.funcignore` leaves."""
    patterns = (ROOT / ".funcignore").read_text("utf-8").split()
    return {name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}


def packed() -> set[str]:
    """The files and folders at the top that are deployed of what is in the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return left(path.split("/")[0] for path in listed.stdout.splitlines())


def test_only_the_app_is_packed() -> None:
    assert packed() == {"function_app.py", "host.json", "requirements.txt", "shared"}
    assert left(OF_THE_MACHINE) == set()


def test_what_is_the_machines_stays_out_of_the_repository(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    for name in OF_THE_MACHINE:
        path = tmp_path / name / "file" if name in (".azure", "node_modules") else tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    git = ["git", "-c", "core.excludesFile="]
    subprocess.run([*git, "init", "--quiet"], cwd=tmp_path, timeout=60, check=True)
    command = [*git, "ls-files", "--others", "--exclude-standard"]
    seen = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.split() == [".gitignore"]

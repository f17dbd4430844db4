"""What azd reads: azure.yaml, the parameters file, tags; and what it packs."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.infra.bicep import INFRA, MAIN, ROOT, Infrastructure, Name, body, key, values

REAL = Infrastructure.of_project()
# By the schema of azure.yaml, as far as it is used here.
SERVICE_KEYS = {"project", "language", "host", "remoteBuild"}
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
    assert service.keys() <= SERVICE_KEYS
    assert (service["project"], service["language"], service["host"]) == (".", "python", "function")
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


def packed() -> set[str]:
    """The files and folders at the top that `.funcignore` leaves of what is in the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    patterns = (ROOT / ".funcignore").read_text("utf-8").split()
    tops = {path.split("/")[0] for path in listed.stdout.splitlines()}
    return {top for top in tops if not any(fnmatch.fnmatch(top, pattern) for pattern in patterns)}


def test_only_the_app_is_packed() -> None:
    assert packed() == {"function_app.py", "host.json", "requirements.txt", "shared"}
    # azd keeps its environments, secrets among them, in this folder.
    assert ".azure" in (ROOT / ".funcignore").read_text("utf-8").split()
    assert ".azure/" in (ROOT / ".gitignore").read_text("utf-8").split()

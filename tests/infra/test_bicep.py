"""The Bicep files hold together: what a compiler would say of names, modules, parameters and outputs."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

import pytest
from lark.exceptions import UnexpectedInput

from tests.infra.bicep import INFRA, MAIN, ROOT, File, Infrastructure, Name, body, descriptions, key, references, values

KINDS = ("parameters", "variables", "resources", "modules", "outputs")
REAL = Infrastructure.of_project()
POOLS, APP = "modules/session-pools.bicep", "modules/function-app.bicep"


def wrong_names(infra: Infrastructure) -> Iterator[str]:
    """Names that are used and not declared, or declared and not used."""
    for file in infra.files.values():
        declared = {kind: file.declared(kind) for kind in KINDS}
        known = {name for kind in KINDS[:-1] for name in declared[kind]}
        used = set(references([node for kind in KINDS for node in declared[kind].values()]))
        yield from (f"{file.path}: {name} is not declared" for name in used - known)
        idle = ({*declared["parameters"]} | {*declared["variables"]}) - used
        yield from (f"{file.path}: {name} is not used" for name in idle)


def wrong_modules(infra: Infrastructure) -> Iterator[str]:
    """Modules that are not there, parameters too many or too few or of another type, outputs that nobody gives."""
    for file in infra.files.values():
        for name in file.declared("modules"):
            path = file.module_path(name)
            if path not in infra.files:
                yield f"{file.path}: {path} is not there"
                continue
            yield from _wrong_parameters(infra, file, name)
        for name, output in re.findall(r"(\w+)!?\.outputs\.(\w+)", file.text):
            if name not in file.declared("modules") or output not in _target(infra, file, name).declared("outputs"):
                yield f"{file.path}: nothing gives {name}.outputs.{output}"
    reached = {file.module_path(name) for file in infra.files.values() for name in file.declared("modules")}
    yield from (f"{path} is not used" for path in infra.files.keys() - reached - {MAIN})


def _target(infra: Infrastructure, file: File, module: str) -> File:
    return infra.files.get(file.module_path(module), File("", ""))


def _wrong_parameters(infra: Infrastructure, file: File, module: str) -> Iterator[str]:
    wanted = _target(infra, file, module).declared("parameters")
    given = body(file.declared("modules")[module])["params"]
    where = f"{file.path}: {module}"
    yield from (f"{where} takes no {name}" for name in given.keys() - wanted.keys())
    missing = {name for name, row in wanted.items() if row["default"] is None} - given.keys()
    yield from (f"{where} is not given {name}" for name in missing)
    for name in given.keys() & wanted.keys():
        kind = _type(infra, file, given[name])
        if kind not in (None, wanted[name]["type"]):
            yield f"{where} is given a {kind} for {name}, which is a {wanted[name]['type']}"
        if _allowed(wanted[name]) and not _possible(file, given[name]) <= _allowed(wanted[name]):
            yield f"{where} may be given another {name} than it allows"


def _allowed(parameter: dict[str, Any]) -> set[Any]:
    """The values of `@allowed`; none where it has no such decorator."""
    return {value for row in parameter["decorators"] if row["type"] == "allowed" for value in row["argument"]}


def _possible(file: File, value: Any) -> set[Any]:
    """The values that an expression can have; `...` among them where any is possible."""
    if isinstance(value, Name) and value in file.declared("parameters"):
        return _allowed(file.declared("parameters")[value]) or {...}
    return {value} if isinstance(value, (str, int)) and not isinstance(value, Name) else {...}


def _type(infra: Infrastructure, file: File, value: Any) -> str | None:
    """The type of an expression, where that is plain to see."""
    if isinstance(value, Name) and value in file.declared("parameters"):
        return str(file.declared("parameters")[value]["type"])
    if isinstance(value, str) and not isinstance(value, Name):
        return "string"
    for type_, name in ((bool, "bool"), (int, "int"), (list, "array")):
        if isinstance(value, type_):
            return name
    chain = _chain(value)
    if len(chain) == 3 and chain[1] == "outputs":
        return str(_target(infra, file, chain[0]).declared("outputs").get(chain[2], {}).get("type"))
    return None


def _chain(value: Any) -> list[str]:
    """The parts of `a.b.c`; empty for anything else."""
    if isinstance(value, Name):
        return [str(value)]
    accessor = value.get("operator", {}) if isinstance(value, dict) else {}
    if accessor.get("type") != "property_accessor":
        return []
    return [*_chain(accessor["operands"]["operand_1"]), *_chain(accessor["operands"]["operand_2"])]


def missing_files(infra: Infrastructure) -> Iterator[str]:
    """Files that are loaded and not there."""
    for file in infra.files.values():
        for node in values(file.declared("variables")):
            if isinstance(node, dict) and node.get("type") == "load_json_content":
                path = posixpath.join(posixpath.dirname(file.path), node["parameters"]["file_path"])
                if not (INFRA / path).is_file():
                    yield f"{file.path}: {path} is not there"


def untold(infra: Infrastructure) -> Iterator[str]:
    """Parameters and outputs without a description."""
    for file in infra.files.values():
        for kind in ("parameters", "outputs"):
            for name, node in file.declared(kind).items():
                if not any(descriptions(node)):
                    yield f"{file.path}: {name} has no description"


def untagged(infra: Infrastructure) -> Iterator[str]:
    """Resources with a region but without the tags by which azd knows its own."""
    for file, name, node in infra.resources():
        properties = body(node)
        if "location" in properties and "tags" not in set(references(properties.get("tags"))):
            yield f"{file.path}: {name} has no tags"


CHECKS = (wrong_names, wrong_modules, missing_files, untold, untagged)


@pytest.mark.parametrize("path", sorted(REAL.files))
def test_it_parses(path: str) -> None:
    assert any(REAL.files[path].declared(kind) for kind in KINDS)


@pytest.mark.parametrize("check", CHECKS)
def test_it_holds_together(check: Any) -> None:
    assert list(check(REAL)) == []


def test_it_is_for_a_subscription_as_azd_expects() -> None:
    assert "targetScope = 'subscription'" in REAL.files[MAIN].text
    assert (INFRA / "main.parameters.json").is_file()


def test_what_is_no_bicep_is_refused() -> None:
    broken = REAL.changed(MAIN, "'modules/storage.bicep' = {", "'modules/storage.bicep' {")
    with pytest.raises(UnexpectedInput):
        broken.files[MAIN].declared("modules")


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (
            POOLS,
            "maxConcurrentSessions: maxSessions",
            "maxConcurrentSessions: mostSessions",
            "mostSessions is not decl",
        ),
        (MAIN, "'pool-${suffix}'", "'pool-${suffixes}'", "suffixes is not declared"),
        (
            POOLS,
            "cooldownPeriodInSeconds: cooldownSeconds",
            "cooldownPeriodInSeconds: 300",
            "cooldownSeconds is not used",
        ),
        (MAIN, "modules/storage.bicep", "modules/stores.bicep", "modules/stores.bicep is not there"),
        (MAIN, "    egress: poolEgress\n", "", "sessionPools is not given egress"),
        (MAIN, "egress: poolEgress", "network: poolEgress", "sessionPools takes no network"),
        (MAIN, "egress: poolEgress", "egress: poolLocation", "is given a string for egress, which is a bool"),
        (MAIN, "poolEndpoints: poolEndpoints", "poolEndpoints: sessionPools.outputs.endpoints", "is given a array"),
        (MAIN, "identity.outputs.clientId", "identity.outputs.client", "nothing gives identity.outputs.client"),
        (APP, "param pythonVersion", "@allowed(['3.12'])\nparam pythonVersion", "another pythonVersion than it allows"),
        (APP, "param threadCount", "@allowed([64])\nparam threadCount", "another threadCount than it allows"),
        (POOLS, "'../roles.json'", "'roles.json'", "modules/roles.json is not there"),
        (APP, "@description('Python of the app.')\n", "", "pythonVersion has no description"),
        (POOLS, "  tags: tags\n", "", "pools has no tags"),
    ],
)
def test_a_fault_is_told(path: str, old: str, new: str, told: str) -> None:
    broken = REAL.changed(path, old, new)
    problems = [problem for check in CHECKS for problem in check(broken)]
    assert any(told in problem for problem in problems), problems


def test_a_logic_app_is_one_of_the_examples_with_the_parameters_that_it_takes() -> None:
    file = REAL.files["modules/logic-app.bicep"]
    workflows = file.declared("variables")["workflows"]["value"]
    assert {key(name) for name in workflows} | {""} == _allowed(REAL.files[MAIN].declared("parameters")["logicApp"])
    given = body(file.resources["workflow"])["properties"]["parameters"].keys()
    for name in map(key, workflows):
        text = (ROOT / "examples" / "logic-apps" / name / "workflow.json").read_text("utf-8")
        assert json.loads(text)["definition"]["parameters"].keys() == given

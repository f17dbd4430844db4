"""Reads the example workflows and refuses whatever the player does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.logic_apps.expressions import PURE, NotPlayed, evaluate, names_called

EXAMPLES = Path(__file__).parents[2] / "examples" / "logic-apps"
SCHEMA = "https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#"
STATUSES = ("Succeeded", "Failed", "Skipped", "TimedOut")
# What an expression may call, beside the functions that depend on nothing.
CALLS = frozenset(
    [
        "body",
        "items",
        "listCallbackUrl",
        "outputs",
        "parameters",
        "triggerBody",
        "triggerOutputs",
        "variables",
        "workflow",
    ]
)
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Fields:
    """Which fields an object of a definition has to have, and which it may have."""

    needed: frozenset[str]
    optional: frozenset[str] = frozenset()

    def check(self, value: Any, where: str) -> None:
        """Refuses an object with other fields.

        Raises:
            NotPlayed: a field is unknown or missing.
        """
        if not isinstance(value, Mapping):
            raise NotPlayed(f"{where} is not an object")
        unknown = sorted(set(value) - self.needed - self.optional)
        missing = sorted(self.needed - set(value))
        if unknown or missing:
            raise NotPlayed(f"{where} has {unknown or 'nothing'} unknown and {missing or 'nothing'} missing")


def _fields(needed: str, optional: str = "") -> Fields:
    return Fields(frozenset(needed.split()), frozenset(optional.split()))


_DEFINITION = _fields("$schema contentVersion parameters triggers actions outputs")
_REQUEST = _fields("method uri", "headers body queries authentication retryPolicy")
TRIGGERS = {
    "Request": _fields("type kind inputs"),
    "ApiConnection": _fields("type inputs recurrence", "splitOn"),
    "ApiConnectionWebhook": _fields("type inputs", "splitOn"),
    "ServiceProvider": _fields("type inputs", "splitOn"),
}
ACTIONS = {
    "Http": _fields("type runAfter inputs", "limit operationOptions runtimeConfiguration"),
    "HttpWebhook": _fields("type runAfter inputs", "limit runtimeConfiguration"),
    "ApiConnection": _fields("type runAfter inputs"),
    "ServiceProvider": _fields("type runAfter inputs"),
    "Foreach": _fields("type runAfter foreach actions", "runtimeConfiguration"),
    "If": _fields("type runAfter expression actions", "else"),
    "Terminate": _fields("type runAfter inputs"),
    "Response": _fields("type kind runAfter inputs", "operationOptions"),
    "InitializeVariable": _fields("type runAfter inputs"),
    "AppendToArrayVariable": _fields("type runAfter inputs"),
}
INPUTS = {
    "Http": _REQUEST,
    "HttpWebhook": _fields("subscribe unsubscribe"),
    "ApiConnection": _fields("host method path", "queries body"),
    "ServiceProvider": _fields("parameters serviceProviderConfiguration"),
    "Terminate": _fields("runStatus", "runError"),
    "Response": _fields("statusCode", "headers body"),
    "InitializeVariable": _fields("variables"),
    "AppendToArrayVariable": _fields("name value"),
}
_OPTIONS = {"Http": {"DisableAsyncPattern"}, "Response": {"Asynchronous"}}


@dataclass(frozen=True)
class Workflow:
    """A workflow as it is deployed.

    Attributes:
        name: of its folder.
        edition: Consumption or Standard.
        definition: the definition language's object.
        parameters: the values that come with it; those of a Standard app are in `parameters.json`.
    """

    name: str
    edition: str
    definition: Json
    parameters: Mapping[str, Any] = field(default_factory=dict)


def read(folder: Path, app_settings: Mapping[str, str] | None = None) -> Workflow:
    """Reads `workflow.json` of a folder, with what a Standard app keeps beside it.

    Args:
        folder: below `examples/logic-apps`.
        app_settings: of the Standard app, for `@appsetting('...')`.

    Raises:
        NotPlayed: it holds something that the player does not know.
    """
    whole = json.loads((folder / "workflow.json").read_text("utf-8"))
    standard = "kind" in whole
    (_fields("definition kind") if standard else _fields("definition")).check(whole, folder.name)
    definition = whole["definition"]
    parameters: dict[str, Any] = {}
    declared = definition["parameters"]
    if standard:
        if whole["kind"] != "Stateful":
            raise NotPlayed(f"a {whole['kind']} workflow")
        declared = json.loads((folder.parent / "parameters.json").read_text("utf-8"))
        settings = dict(app_settings or {})
        values = {name: row["value"] for name, row in declared.items()}
        parameters = dict(evaluate(values, {"appsetting": lambda name: settings[name]}))
    check(definition, declared)
    return Workflow(folder.name, "Standard" if standard else "Consumption", definition, parameters)


def check(definition: Any, parameters: Mapping[str, Any]) -> None:
    """Refuses a definition with anything that the player does not know.

    Args:
        definition: the definition language's object.
        parameters: those that its expressions may name.

    Raises:
        NotPlayed: says what and where.
    """
    _DEFINITION.check(definition, "the definition")
    if definition["$schema"] != SCHEMA or definition["outputs"]:
        raise NotPlayed("another schema, or outputs of the workflow")
    for name, row in parameters.items():
        _fields("type", "value defaultValue").check(row, f"the parameter {name}")
        if row["type"] not in ("String", "SecureString", "Object"):
            raise NotPlayed(f"a parameter of type {row['type']}")
    if len(definition["triggers"]) != 1:
        raise NotPlayed("a workflow with another number of triggers than one")
    for name, trigger in definition["triggers"].items():
        _known(TRIGGERS, trigger, name)
    for name, action in walk(definition["actions"]):
        _check_action(name, action)
        if action["type"] == "Foreach" and any(row["type"] == "Terminate" for _, row in walk(action["actions"])):
            raise NotPlayed(f"a Terminate in the loop {name}, which Logic Apps refuses")
    _check_calls(definition, parameters)


def walk(actions: Json) -> Iterator[tuple[str, Json]]:
    """All actions, those of loops and branches too.

    Raises:
        NotPlayed: an action has no type that is known.
    """
    for name, action in actions.items():
        yield name, action
        yield from walk(action.get("actions") or {})
        yield from walk((action.get("else") or {}).get("actions") or {})


def _known(table: Mapping[str, Fields], value: Json, name: str) -> None:
    kind = str(value.get("type"))
    if kind not in table:
        raise NotPlayed(f"{name} of type {kind}")
    table[kind].check(value, name)


def _check_action(name: str, action: Json) -> None:
    _known(ACTIONS, action, name)
    kind = action["type"]
    if kind in INPUTS:
        INPUTS[kind].check(action["inputs"], f"{name}.inputs")
    if kind == "HttpWebhook":
        for part in ("subscribe", "unsubscribe"):
            _REQUEST.check(action["inputs"][part], f"{name}.{part}")
    for before, statuses in action["runAfter"].items():
        if not set(statuses) <= set(STATUSES):
            raise NotPlayed(f"{name} after {before}: {statuses}")
    if "limit" in action:
        _fields("timeout").check(action["limit"], f"{name}.limit")
        seconds(action["limit"]["timeout"])
    if action.get("operationOptions") not in (None, *_OPTIONS.get(kind, ())):
        raise NotPlayed(f"{name}: {action['operationOptions']}")
    _check_configuration(name, action.get("runtimeConfiguration", {}))


def _check_configuration(name: str, configuration: Json) -> None:
    _fields("", "secureData concurrency").check(configuration, f"{name}.runtimeConfiguration")
    secured = configuration.get("secureData", {"properties": []})
    _fields("properties").check(secured, f"{name}.secureData")
    if not set(secured["properties"]) <= {"inputs", "outputs"}:
        raise NotPlayed(f"{name}: secureData of {secured['properties']}")
    if "concurrency" in configuration:
        _fields("repetitions").check(configuration["concurrency"], f"{name}.concurrency")


def _check_calls(definition: Json, parameters: Mapping[str, Any]) -> None:
    unknown = names_called(definition["triggers"]) | names_called(definition["actions"])
    unknown -= CALLS | set(PURE)
    if unknown:
        raise NotPlayed(f"the functions {sorted(unknown)}")
    named = set(re.findall(r"parameters\('([^']*)'\)", json.dumps(definition)))
    if not named <= set(parameters):
        raise NotPlayed(f"the parameters {sorted(named - set(parameters))}, which nobody declares")


def seconds(duration: str) -> float:
    """An ISO 8601 duration of whole days, hours, minutes and seconds.

    Raises:
        NotPlayed: it has another form.
    """
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", duration)
    if match is None or not any(match.groups()):
        raise NotPlayed(f"the duration {duration}")
    days, hours, minutes, rest = (int(text or 0) for text in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)

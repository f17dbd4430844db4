"""Plays a workflow definition as Logic Apps would, against a service over HTTP.

It knows the triggers and actions of the examples and no more: everything else is `NotPlayed`. What is documented
for Logic Apps it does as documented; what is not is an assumption that docs/logic-apps.md lists.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.logic_apps.callbacks import CallbackListener
from tests.logic_apps.clock import Clock
from tests.logic_apps.definition import Json, Workflow
from tests.logic_apps.expressions import InvalidTemplate, NotPlayed, evaluate
from tests.logic_apps.http_calls import HttpCalls, TimedOut, Tokens
from tests.logic_apps.wire import Answer, Identity, Transport, over_http
from tests.logic_apps.workflow_run import Result, Scope, Terminated, WorkflowRun

RUN_SECONDS = 300
DEFAULT_REPETITIONS = 20
# A connector's operation by its action's name and inputs; gives the action's body.
Connector = Callable[[str, Json], Any]


class Player:
    """Plays one workflow.

    Args:
        workflow: see `definition.read`.
        parameters: values for those of the definition, over those that come with it.
        clock: for retries, polls and limits.
        transport: sends one request.
        callbacks: where HTTP Webhook actions are called back.
        connector: carries out what connectors do.
        tokens: a managed identity's token for an audience.
        seed: of the waits that are drawn.
    """

    def __init__(
        self,
        workflow: Workflow,
        parameters: Mapping[str, Any],
        *,
        clock: Clock,
        transport: Transport = over_http,
        callbacks: CallbackListener | None = None,
        connector: Connector | None = None,
        tokens: Tokens = lambda audience: f"token-for-{audience}",
        seed: int = 0,
    ) -> None:
        self.workflow = workflow
        self._parameters = {**workflow.parameters, **parameters}
        self._clock = clock
        self._transport = transport
        self._callbacks = callbacks
        self._connector = connector
        self._tokens = tokens
        self._seed = seed

    def trigger_inputs(self) -> Any:
        """The trigger's inputs without expressions: what a connector is asked for."""
        (trigger,) = self.workflow.definition["triggers"].values()
        known: dict[str, Callable[..., Any]] = {
            "parameters": self._parameters.__getitem__,
            "listCallbackUrl": lambda: f"https://prod-17.westeurope.logic.azure.com/workflows/{self.workflow.name}",
        }
        return evaluate(trigger["inputs"], known)

    def fire(self, body: Any) -> list[WorkflowRun]:
        """What comes in at the trigger; waits until all runs that it starts have ended."""
        return [self.finish(run) for run in self.start(body)]

    def start(self, body: Any) -> list[WorkflowRun]:
        """Like `fire`, without waiting."""
        (trigger,) = self.workflow.definition["triggers"].values()
        bodies = [body]
        if "splitOn" in trigger:
            whole = {"body": body}
            bodies = evaluate(
                trigger["splitOn"], {"triggerBody": lambda: whole["body"], "triggerOutputs": lambda: whole}
            )
            if not isinstance(bodies, list):
                raise InvalidTemplate("splitOn has met something else than an array")
        runs = [WorkflowRun(_run_name(), {"body": item}) for item in bodies]
        for run in runs:
            thread = threading.Thread(target=self._play, args=(run,), daemon=True)
            run.thread = thread
            thread.start()
        return runs

    def finish(self, run: WorkflowRun) -> WorkflowRun:
        """Waits until a run has ended.

        Raises:
            NotPlayed: it has met something that the player does not know.
            TimeoutError: it does not end.
        """
        if run.thread is not None:
            run.thread.join(RUN_SECONDS)
        if run.thread is None or run.thread.is_alive():
            raise TimeoutError(f"the workflow run {run.name} does not end")
        if run.failure is not None:
            raise run.failure
        return run

    def _play(self, run: WorkflowRun) -> None:
        calls = HttpCalls(
            self.workflow.edition, self._clock, self._transport, self._tokens, self._seed, run.cancelled.is_set
        )
        run.exchanges = calls.exchanges
        try:
            status = _Playing(self, run, calls).actions(self.workflow.definition["actions"], Scope(run.results))
            run.status = "Cancelled" if run.cancelled.is_set() else status
        except Terminated as end:
            run.status, run.error = end.status, end.error
        except BaseException as failure:  # noqa: BLE001  # raised again where the run is awaited
            run.failure = failure


class _Playing:
    """The actions of one run."""

    def __init__(self, player: Player, run: WorkflowRun, calls: HttpCalls) -> None:
        self._player = player
        self._run = run
        self._calls = calls

    def actions(self, actions: Json, scope: Scope) -> str:
        """Plays actions in the order of their runAfter; gives the status of them together."""
        todo = dict(actions)
        while todo:
            ready = [name for name, action in todo.items() if not set(action["runAfter"]) & set(todo)]
            if not ready:
                raise NotPlayed(f"actions that wait for each other: {sorted(todo)}")
            for name in ready:
                scope.results[name] = self._one(name, todo.pop(name), scope)
                self._run.results[name] = scope.results[name]
        handled = {
            before: set(statuses) for action in actions.values() for before, statuses in action["runAfter"].items()
        }
        bad = [
            name
            for name in actions
            if scope.results[name].status in ("Failed", "TimedOut")
            and scope.results[name].status not in handled.get(name, ())
        ]
        return "Failed" if bad else "Succeeded"

    def _one(self, name: str, action: Json, scope: Scope) -> Result:
        for before, statuses in action["runAfter"].items():
            if scope.results[before].status not in statuses:
                return Result("Skipped")
        if self._run.cancelled.is_set():
            return Result("Cancelled")
        play: Callable[[str, Json, Scope], Result] = getattr(self, f"_{action['type'].lower()}")
        try:
            return play(name, action, scope)
        except InvalidTemplate as error:
            return Result("Failed", {"error": str(error)})
        except TimedOut:
            return Result("TimedOut")

    def _value(self, template: Any, scope: Scope, url: str | None = None) -> Any:
        def callback_url() -> str:
            if url is None:
                raise InvalidTemplate("listCallbackUrl() has a value in subscribe only")
            return url

        run = self._run
        known: dict[str, Callable[..., Any]] = {
            "body": lambda action: scope.result(action).outputs.get("body"),
            "items": scope.items.__getitem__,
            "listCallbackUrl": callback_url,
            "outputs": lambda action: scope.result(action).outputs,
            "parameters": self._player._parameters.__getitem__,
            "triggerBody": lambda: run.trigger["body"],
            "triggerOutputs": lambda: run.trigger,
            "variables": run.variables.__getitem__,
            "workflow": lambda: {"name": self._player.workflow.name, "run": {"name": run.name}},
        }
        return evaluate(template, known)

    def _identity(self, name: str) -> Identity:
        return Identity(self._player.workflow.name, self._run.name, name, str(uuid.uuid4()))

    def _http(self, name: str, action: Json, scope: Scope) -> Result:
        inputs = self._value(action["inputs"], scope)
        answer = self._calls.call(
            self._identity(name),
            inputs,
            deadline=self._calls.deadline(action),
            asynchronous=action.get("operationOptions") != "DisableAsyncPattern",
        )
        return _result(answer)

    def _httpwebhook(self, name: str, action: Json, scope: Scope) -> Result:
        callbacks = self._player._callbacks
        if callbacks is None:
            raise NotPlayed("an HTTP Webhook action without a listener for its callback")
        identity, deadline = self._identity(name), self._calls.deadline(action)
        url = callbacks.open(self._player.workflow.name, self._run.name, name)
        self._run.when_cancelled(lambda: callbacks.close(url))
        subscribe = self._value(action["inputs"]["subscribe"], scope, url)
        subscribed = self._calls.call(identity, subscribe, deadline=deadline, asynchronous=False)
        if subscribed is None or subscribed.status // 100 != 2:
            callbacks.close(url)
            return _result(subscribed)
        if subscribed.status == 202 and "location" in subscribed.headers:
            raise NotPlayed("a subscribe that is answered with 202 and a Location: nobody says what Logic Apps does")
        self._run.waiting.set()
        clock = self._player._clock
        left = min(deadline - clock.now(), float(RUN_SECONDS) * 60)
        called = callbacks.wait(url, clock.allowance(left))
        callbacks.close(url)
        # Sent after success too, on a cancellation, and before a time-out.
        unsubscribe = self._value(action["inputs"]["unsubscribe"], scope)
        self._calls.call(self._identity(name), unsubscribe, deadline=float("inf"), asynchronous=False)
        if called is not None:
            return Result("Succeeded", {"statusCode": 200, "headers": called.headers, "body": called.body})
        return Result("Cancelled" if self._run.cancelled.is_set() else "TimedOut")

    def _apiconnection(self, name: str, action: Json, scope: Scope) -> Result:
        if self._player._connector is None:
            raise NotPlayed(f"{name}, which needs a connector")
        return Result("Succeeded", {"body": self._player._connector(name, self._value(action["inputs"], scope))})

    _serviceprovider = _apiconnection

    def _foreach(self, name: str, action: Json, scope: Scope) -> Result:
        items = self._value(action["foreach"], scope)
        concurrency = action.get("runtimeConfiguration", {}).get("concurrency", {})
        repetitions = int(concurrency.get("repetitions", DEFAULT_REPETITIONS))

        def iteration(item: Any) -> str:
            return self.actions(action["actions"], Scope({}, scope, {name: item}))

        with ThreadPoolExecutor(repetitions) as threads:
            statuses = list(threads.map(iteration, items))
        return Result("Failed" if "Failed" in statuses else "Succeeded")

    def _if(self, name: str, action: Json, scope: Scope) -> Result:
        chosen = action["actions"]
        if not self._holds(action["expression"], scope):
            chosen = (action.get("else") or {}).get("actions") or {}
        return Result(self.actions(chosen, Scope({}, scope)))

    def _holds(self, condition: Json, scope: Scope) -> bool:
        ((kind, parts),) = condition.items()
        if kind == "and":
            return all(self._holds(part, scope) for part in parts)
        if kind == "equals":
            one, other = (self._value(part, scope) for part in parts)
            return bool(one == other)
        raise NotPlayed(f"the condition {kind}")

    def _terminate(self, name: str, action: Json, scope: Scope) -> Result:
        inputs = self._value(action["inputs"], scope)
        raise Terminated(inputs["runStatus"], inputs.get("runError", {}))

    def _response(self, name: str, action: Json, scope: Scope) -> Result:
        self._run.response = self._value(action["inputs"], scope)
        return Result("Succeeded")

    def _initializevariable(self, name: str, action: Json, scope: Scope) -> Result:
        for row in self._value(action["inputs"]["variables"], scope):
            self._run.variables[row["name"]] = row["value"]
        return Result("Succeeded")

    def _appendtoarrayvariable(self, name: str, action: Json, scope: Scope) -> Result:
        inputs = self._value(action["inputs"], scope)
        self._run.append(inputs["name"], inputs["value"])
        return Result("Succeeded")


def _result(answer: Answer | None) -> Result:
    if answer is None:
        return Result("Failed", {"error": "ActionFailed: the service did not answer"})
    outputs = {"statusCode": answer.status, "headers": dict(answer.headers), "body": answer.content()}
    return Result("Succeeded" if answer.status // 100 == 2 else "Failed", outputs)


def _run_name() -> str:
    return f"{uuid.uuid4().int % 10**26:026d}CU21"

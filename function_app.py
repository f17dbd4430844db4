"""Every trigger of the function app, and nothing else."""

from __future__ import annotations

import os
from dataclasses import replace

import azure.functions as func

from shared import api, run_api, run_triggers

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

STORAGE = "AzureWebJobsStorage"
# The host finds no queue for a reference to a setting that is not there; the default needs no setting.
RUN_QUEUE = "%RUN_QUEUE_NAME%" if os.environ.get("RUN_QUEUE_NAME") else "runs"
EVERY_HOUR = "0 30 * * * *"


@app.route(route="chat", methods=["GET", "POST"])
def chat(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Answers one task."""
    return _response(api.chat(_traced(req, context)))


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Says that the app is alive: on the event loop, also while all threads are taken."""
    return _response(api.health(_request(req)))


@app.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def openapi(req: func.HttpRequest) -> func.HttpResponse:
    """Describes the API in OpenAPI 3.1."""
    return _response(api.openapi(_request(req)))


@app.route(route="swagger.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def swagger(req: func.HttpRequest) -> func.HttpResponse:
    """Describes the API in OpenAPI 2.0, for Logic Apps."""
    return _response(api.swagger(_request(req)))


@app.route(route="runs", methods=["POST"])
def start_run(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Accepts a run."""
    return _response(run_api.create(_traced(req, context)))


@app.route(route="runs", methods=["GET"])
def list_runs(req: func.HttpRequest) -> func.HttpResponse:
    """Lists the caller's runs."""
    return _response(run_api.recent(_request(req)))


@app.route(route="runs/cancel", methods=["POST"])
def cancel_run_by_key(req: func.HttpRequest) -> func.HttpResponse:
    """Cancels the run that a key has made."""
    return _response(run_api.cancel_by_key(_request(req)))


@app.route(route="runs/{run_id}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def get_run(req: func.HttpRequest) -> func.HttpResponse:
    """Says how far a run is; the run's own token opens it."""
    return _response(await run_api.get(_request(req)))


@app.route(route="runs/{run_id}/cancel", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def cancel_run(req: func.HttpRequest) -> func.HttpResponse:
    """Cancels a run; the run's own token opens it."""
    return _response(run_api.cancel(_request(req)))


@app.queue_trigger(arg_name="message", queue_name=RUN_QUEUE, connection=STORAGE)
def carry_out_run(message: func.QueueMessage) -> None:
    """Carries out a queued run."""
    run_triggers.carry_out(message.get_body())


@app.queue_trigger(arg_name="message", queue_name=f"{RUN_QUEUE}-poison", connection=STORAGE)
def fail_poisoned_run(message: func.QueueMessage) -> None:
    """Ends a run that was delivered in vain too often."""
    run_triggers.fail_poisoned(message.get_body())


@app.timer_trigger(schedule=EVERY_HOUR, arg_name="timer")
def delete_old_runs(timer: func.TimerRequest) -> None:
    """Deletes runs that ended long ago."""
    run_triggers.delete_old()


def _request(req: func.HttpRequest) -> api.Request:
    headers = {name.lower(): value for name, value in req.headers.items()}
    return api.Request(req.method.upper(), headers, dict(req.params), req.get_body(), dict(req.route_params))


def _traced(req: func.HttpRequest, context: func.Context) -> api.Request:
    """The request with the host's span in place of the caller's, which is the parent of that."""
    request = _request(req)
    parent = context.trace_context.trace_parent
    return replace(request, headers={**request.headers, "traceparent": parent}) if parent else request


def _response(reply: api.Reply) -> func.HttpResponse:
    return func.HttpResponse(reply.body, status_code=reply.status, headers=dict(reply.headers))

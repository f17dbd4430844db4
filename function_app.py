"""Every trigger of the function app, and nothing else."""

from __future__ import annotations

import azure.functions as func

from shared import api

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route(route="chat", methods=["GET", "POST"])
def chat(req: func.HttpRequest) -> func.HttpResponse:
    """Answers one task."""
    return _response(api.chat(_request(req)))


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Says that the app is alive."""
    return _response(api.health(_request(req)))


def _request(req: func.HttpRequest) -> api.Request:
    headers = {name.lower(): value for name, value in req.headers.items()}
    return api.Request(req.method.upper(), headers, dict(req.params), req.get_body())


def _response(reply: api.Reply) -> func.HttpResponse:
    return func.HttpResponse(reply.body, status_code=reply.status, headers=dict(reply.headers))

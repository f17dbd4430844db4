from __future__ import annotations

import pytest

from local.functions_host.indexing import IndexingError, index_functions
from tests.local.functions_host.hosting import ANONYMOUS, WriteApp

GOOD = """
@app.route(route="a/{id}", methods=["GET"])
def a(req: func.HttpRequest, context: func.Context) -> func.HttpResponse: ...

@app.route(auth_level=func.AuthLevel.FUNCTION)
@app.queue_output(arg_name="out", queue_name="q", connection="AzureWebJobsStorage")
async def b(req: func.HttpRequest, out: func.Out[str]) -> str: ...

@app.queue_trigger(arg_name="msg", queue_name="q", connection="AzureWebJobsStorage")
def c(msg: func.QueueMessage) -> None: ...

@app.route()
@app.blob_input(arg_name="blob", path="x/y", connection="AzureWebJobsStorage")
def d(req: func.HttpRequest, blob: str) -> str: ...

@app.blob_trigger(arg_name="blob", path="x/y", connection="AzureWebJobsStorage")
def e(blob: func.InputStream) -> None: ...
"""


def test_functions_are_indexed(write_app: WriteApp) -> None:
    a, b, c, d, e = index_functions(write_app(GOOD))
    assert [each.name for each in (a, b, c, d, e)] == ["a", "b", "c", "d", "e"]
    assert (a.is_async, b.is_async) == (False, True)
    assert a.trigger_binding["methods"] == ["GET"]
    assert (a.trigger_binding["authLevel"], b.trigger_binding["authLevel"]) == ("ANONYMOUS", "FUNCTION")
    assert b.trigger_binding["route"] == "b"
    assert a.signature.wants_context
    assert b.signature.outputs == ("out",)
    assert (a.not_run_because, b.not_run_because) == (None, None)
    assert c.not_run_because is None
    assert c.trigger_binding["queueName"] == "q"
    assert d.not_run_because == "this host does not provide blob inputs yet"
    assert e.not_run_because == "this host does not run blobTrigger functions yet"


@pytest.mark.parametrize(
    ("source", "start", "problem"),
    [
        ("x = 1", "", "ValueError: Could not find top level function app instances in function_app.py."),
        (
            "alias = app",
            ANONYMOUS,
            "ValueError: More than one FunctionApp or other top level function app instances are defined.",
        ),
        (
            "bp = func.Blueprint()",
            "import azure.functions as func\n",
            "Could not find top level function app instances",
        ),
        ("import no_such_module", ANONYMOUS, "https://aka.ms/functions-modulenotfound"),
        ("def broken(:", ANONYMOUS, "SyntaxError"),
        (
            '@app.route()\ndef a(req: func.HttpRequest): ...\n@app.function_name("a")\n'
            "@app.route()\ndef b(req: func.HttpRequest): ...",
            ANONYMOUS,
            "does not have a unique function name",
        ),
        (
            "@app.route()\ndef a(req: func.HttpRequest, other: int): ...",
            ANONYMOUS,
            "FunctionLoadError: cannot load the a function: the following parameters are declared in Python but not "
            "in the function definition (function.json or function decorators):  {'other'}",
        ),
        ("@app.route()\ndef a(request: func.HttpRequest): ...", ANONYMOUS, "cannot load the a function"),
        ("@app.route()\ndef a(): ...", ANONYMOUS, "are not present in Python: {'req'}"),
        (
            "@app.route()\ndef a(req: int): ...",
            ANONYMOUS,
            "function parameter's Python type annotation int",
        ),
        ("@app.route()\ndef a(req: func.HttpRequest, context: int): ...", ANONYMOUS, "azure.functions.Context"),
        (
            "@app.route()\ndef a(req: func.HttpRequest) -> dict: ...",
            ANONYMOUS,
            'Python return annotation "dict" does not match binding type "http"',
        ),
        (
            "@app.route()\ndef a(req: func.HttpRequest) -> func.HttpResponse | str: ...",
            ANONYMOUS,
            "has invalid non-type return annotation",
        ),
        (
            "@app.route()\ndef a(req: func.Out[str]): ...",
            ANONYMOUS,
            'binding req is declared to have the "in" direction',
        ),
        (
            '@app.route()\n@app.queue_output(arg_name="q", queue_name="q", connection="c")\n'
            "def a(req: func.HttpRequest, q: str): ...",
            ANONYMOUS,
            'binding q is declared to have the "out" direction',
        ),
        ("@app.route()\ndef a(req: 5): ...", ANONYMOUS, "invalid non-type annotation"),
    ],
)
def test_app_is_refused_with_the_workers_text(write_app: WriteApp, source: str, start: str, problem: str) -> None:
    with pytest.raises(IndexingError) as caught:
        index_functions(write_app(source, start=start))
    assert problem in str(caught.value)
    assert str(caught.value).startswith("Worker failed to index functions\nResult: Failure\nException: ")


def test_missing_script(write_app: WriteApp) -> None:
    folder = write_app("")
    (folder / "function_app.py").unlink()
    with pytest.raises(IndexingError, match=r"no function_app\.py"):
        index_functions(folder)


def test_script_of_another_name(write_app: WriteApp, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_app("", files={"another_function_app.py": ANONYMOUS + GOOD})
    monkeypatch.setenv("PYTHON_SCRIPT_FILE_NAME", "another_function_app.py")
    assert len(index_functions(folder)) == 5
    monkeypatch.setenv("PYTHON_SCRIPT_FILE_NAME", "../x.py")
    with pytest.raises(IndexingError, match="Invalid file name"):
        index_functions(folder)


def test_blueprint_that_is_registered(write_app: WriteApp) -> None:
    source = """
    bp = func.Blueprint()

    @bp.route()
    def inner(req: func.HttpRequest) -> str: ...

    app.register_functions(bp)
    """
    assert [function.name for function in index_functions(write_app(source))] == ["inner"]

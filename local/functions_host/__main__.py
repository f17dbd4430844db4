"""`python -m local.functions_host [--port 7071] [--app-dir DIR] [--enable-auth] [--cors ORIGIN]`.

The ready line on standard output has `url`, `functions` (names) and, with `--enable-auth`, `key`.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from local import serve
from local.functions_host import settings
from local.functions_host.app import HostedApp, create_app
from local.functions_host.indexing import IndexingError
from local.functions_host.queue_listener import LEASE_SECONDS

DEFAULT_PORT = 7071


def main(arguments: list[str] | None = None) -> int:
    """Runs the host until it is told to stop.

    Args:
        arguments: the command line; None takes the process's.

    Returns:
        The exit code: 1 when it did not start.
    """
    options = _parser().parse_args(arguments)
    app_dir: Path = options.app_dir.resolve()
    _log_to_stderr()
    try:
        port = _port(options.port, settings.read_local_settings(app_dir))
        listener = _listen(port)
    except (settings.SettingsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with listener:
        port = listener.getsockname()[1]
        key = secrets.token_urlsafe(32) if options.enable_auth else None
        os.chdir(app_dir)
        try:
            app = create_app(
                app_dir,
                port=port,
                key=key,
                cors=settings.origins(options.cors),
                lease_seconds=options.message_lease,
                http_only=options.http_only,
            )
        except (settings.SettingsError, IndexingError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        hosted: HostedApp = app.state.hosted
        sys.stderr.write("\n".join(listing(hosted, port)) + "\n")
        names = [function.name for function in hosted.functions]
        announce: dict[str, object] = {"functions": names} | ({"key": key} if key else {})
        serve.run(
            app,
            port=port,
            with_parent=options.with_parent,
            announce=lambda url: announce,
            listener=listener,
            stopping=hosted.listeners.take_no_more,
        )
    return 0


def listing(hosted: HostedApp, port: int) -> Iterator[str]:
    """The functions as `func start` lists them, a line each.

    Args:
        hosted: the app.
        port: the port in the URLs.
    """
    runs = {route.function.name: route for route in hosted.routes}
    yield "\nFunctions:\n"
    for function in hosted.functions:
        route = runs.get(function.name)
        if route is not None:
            methods = f"[{','.join(route.methods)}]" if route.methods else ""
            yield f"\t{function.name}: {methods} http://localhost:{port}/{route.template.text}\n"
        else:
            yield f"\t{function.name}: {function.trigger}\n"
    for function in hosted.functions:
        if function.is_disabled(os.environ):
            yield f"Function {function.name} is disabled."
        elif reason := hosted.not_run_because(function):
            yield f"Function {function.name} does not run: {reason}."
    if not hosted.functions:
        yield "No job functions found."


def _parser() -> argparse.ArgumentParser:
    parser = serve.argument_parser("Runs a function app (HTTP, queue and timer triggers) without Core Tools.")
    # None tells an option that was not given from --port 0: local.settings.json may have its own port.
    parser.set_defaults(port=None)
    parser.add_argument("-p", dest="port", type=int, default=argparse.SUPPRESS, help="the same as --port")
    parser.add_argument("--app-dir", type=Path, default=Path(), help="folder of function_app.py")
    parser.add_argument("--enable-auth", action="store_true", help="check keys; one is made for this run")
    lease_help = "how long a fetched queue message is hidden (default 600, as in Azure); after a crash it comes again"
    parser.add_argument("--message-lease", type=int, metavar="SECONDS", default=LEASE_SECONDS, help=lease_help)
    parser.add_argument("--http-only", action="store_true", help="run no queue and timer functions")
    parser.add_argument("--cors", default="", help="origins that may call from a browser, comma-separated")
    return parser


def _port(option: int | None, local: settings.LocalSettings) -> int:
    if option is not None:
        return option
    return DEFAULT_PORT if local.port is None else local.port


def _listen(port: int) -> socket.socket:
    try:
        return serve.listen(port)
    except OSError as error:
        raise OSError(
            f"Port {port} is unavailable. Close the process using that port, or specify another port using --port [-p]."
        ) from error


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("[%(asctime)s.%(msecs)03dZ] %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # The SDKs tell every request, and a listener makes one every second or two.
    logging.getLogger("azure").setLevel(logging.WARNING)


def _leave(code: int) -> None:
    """Ends the process; a function that still runs in a thread does not keep it."""
    if any(thread.name.startswith("function") for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        CODE = main()
    except KeyboardInterrupt:
        CODE = 0
    _leave(CODE)

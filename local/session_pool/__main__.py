"""`python -m local.session_pool`: the emulator on its own, with the identity endpoint that its tokens come from."""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.routing import BaseRoute, Mount

from local import identity, serve
from local.session_pool import config, sandbox
from local.session_pool.app import PoolApp, create_app
from local.session_pool.auth import KeySet, TokenCheck, keys_at
from local.session_pool.config import ConfigError, PoolConfig
from local.session_pool.faults import Fault, Faults, parse_rule
from local.session_pool.kinds import kind_of
from local.session_pool.launch import Isolation
from local.session_pool.metadata import Metadata
from local.session_pool.sessions import SessionPool
from local.session_pool.tls import write_certificate

# Semantic Kernel still asks for the service's former name.
AUDIENCES = ("https://dynamicsessions.io", "https://acasessions.io")
SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/sessionPools/"
FILES_WANTED = 16_384
IDENTITY_PATH = "/.local/identity"
UNPROTECTED = "code in the session pool runs as you, on this machine"
_SESSION_PYTHON = Path(__file__).resolve().parents[2] / ".venv-session" / "bin" / "python"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the pools; see `--help`. Returns the exit code: 2 when the options cannot be followed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _allow_many_files()
    try:
        pools = config.read(options.config) if options.config else [_single(options)]
        sandboxed = _sandboxed(options)
        with tempfile.TemporaryDirectory(prefix="session-pool-") as folder:
            _serve(options, pools, sandboxed, Path(folder))
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"The address cannot be used: {error.strerror}.\n")
        return 1
    return 0


def _allow_many_files() -> None:
    # Each session takes some fifteen, and many systems give a process a thousand unless it asks for more.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_WANTED:
        most = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _parser() -> argparse.ArgumentParser:
    parser = serve.argument_parser("An emulator of Azure Container Apps session pools (code interpreter).")
    pool = parser.add_argument_group("the pool")
    pool.add_argument("--name", default="local")
    pool.add_argument("--kind", default="PythonLTS", help="PythonLTS (default), NodeLTS or Shell")
    pool.add_argument("--max-sessions", type=int, default=100, help="sessions at once (default 100)")
    pool.add_argument("--cooldown-seconds", type=float, default=300, help="idle time of a session (default 300)")
    pool.add_argument("--prewarmed", type=int, default=2, help="sessions kept ready (default 2)")
    pool.add_argument("--egress", action="store_true", help="let the code reach the network")
    pool.add_argument("--config", type=Path, help="a JSON file of several pools, instead of these options")
    parser.add_argument(
        "--kernel-python", default=_session_python(), help="interpreter of the sessions, with ipykernel"
    )
    access = parser.add_argument_group("who may call")
    access.add_argument("--auth", choices=("entra", "none"), default="entra", help="check tokens (default), or do not")
    access.add_argument(
        "--audience", help="whom tokens have to be for, instead of the service's present and former name"
    )
    access.add_argument("--jwks-url", help="public keys of another identity endpoint; by default it brings its own")
    access.add_argument("--token-lifetime", type=int, default=identity.DEFAULT_LIFETIME_SECONDS, help="in seconds")
    access.add_argument("--host", default=serve.LOOPBACK, help="address to listen on; others than loopback: --expose")
    access.add_argument("--expose", action="store_true", help="listen where other machines can reach it")
    access.add_argument("--tls", action="store_true", help="https, with a certificate made for this run")
    behaviour = parser.add_argument_group("behaviour")
    behaviour.add_argument("--loose", action="store_true", help="forgive unknown versions, wrapped bodies, old paths")
    behaviour.add_argument("--full-status", type=int, choices=(429, 404), default=429, help="of a full pool")
    behaviour.add_argument("--fault", action="append", default=[], metavar="RULE", help="status=503,count=2 and so on")
    behaviour.add_argument("--json", action="store_true", help="say one line of JSON when ready, for scripts")
    consent = parser.add_mutually_exclusive_group()
    consent.add_argument("--trusted-code-only", action="store_true", help="no sandbox: only code you trust will be run")
    consent.add_argument("--unsafe-no-sandbox", action="store_true", help="no sandbox: run any code, unprotected")
    return parser


def _session_python() -> str:
    given = os.environ.get("SESSION_PYTHON")
    return given or (str(_SESSION_PYTHON) if _SESSION_PYTHON.exists() else sys.executable)


def _single(options: argparse.Namespace) -> PoolConfig:
    return PoolConfig(
        options.name,
        options.kind,
        options.max_sessions,
        options.cooldown_seconds,
        min(options.prewarmed, options.max_sessions),
        options.egress,
    )


def _sandboxed(options: argparse.Namespace) -> bool:
    """Whether containers are made in the sandbox.

    Raises:
        ConfigError: there can be none, and the options do not do without.
    """
    if options.unsafe_no_sandbox or options.trusted_code_only:
        word = "WARNING" if options.unsafe_no_sandbox else "Note"
        sys.stderr.write(f"{word}: without a sandbox, {UNPROTECTED}.\n")
        return False
    reason = sandbox.missing()
    if reason:
        raise ConfigError(f"{reason} Or say --unsafe-no-sandbox: then {UNPROTECTED}.")
    return True


def _serve(options: argparse.Namespace, pools: Sequence[PoolConfig], sandboxed: bool, folder: Path) -> None:
    if options.host not in (serve.LOOPBACK, "localhost", "::1") and not options.expose:
        raise ConfigError("Others than this machine could run code here. Say --expose if you want that.")
    tokens, environment, more = _identity(options)
    rules = Faults(_rules(options.fault))
    apps = {pool.name: _pool_app(pool, options, sandboxed, tokens, rules) for pool in pools}
    certificate = write_certificate(folder) if options.tls else None
    if certificate:
        environment |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(certificate[0]))

    def announce(url: str) -> Mapping[str, object]:
        endpoints = {name: f"{url}{SUBSCRIPTION}{name}" for name in apps}
        variables = {"POOL_MANAGEMENT_ENDPOINT": next(iter(endpoints.values()))}
        variables |= {name: value.replace("{url}", url) for name, value in environment.items()}
        return {"env": variables, "endpoints": endpoints}

    serve.run(
        create_app(apps, rules, local_only=not options.expose, more=more),
        host=options.host,
        port=options.port,
        with_parent=options.with_parent,
        announce=announce,
        show=None if options.json or options.with_parent else _shown,
        certificate=certificate[1:] if certificate else None,
    )


def _rules(texts: Sequence[str]) -> list[Fault]:
    try:
        return [parse_rule(text) for text in texts]
    except ValueError as error:
        raise ConfigError(f"--fault: {error}.") from None


def _identity(options: argparse.Namespace) -> tuple[TokenCheck | None, dict[str, str], list[BaseRoute]]:
    """Who checks tokens, the variables that lead to them, and the endpoint that gives them."""
    if options.auth == "none":
        return None, {}, []
    audiences = (options.audience,) if options.audience else AUDIENCES
    if options.jwks_url:
        return TokenCheck(keys_at(options.jwks_url), *audiences), {}, []
    header = secrets.token_hex(16)
    own = identity.Identity(header, options.token_lifetime)

    async def keys() -> dict[str, object]:
        return own.key_set()

    key_set: KeySet = keys
    variables = {"IDENTITY_ENDPOINT": f"{{url}}{IDENTITY_PATH}/msi/token", "IDENTITY_HEADER": header}
    mount = Mount(IDENTITY_PATH, app=identity.create_app(own))
    return TokenCheck(key_set, *audiences), variables, [mount]


def _pool_app(
    pool: PoolConfig, options: argparse.Namespace, sandboxed: bool, tokens: TokenCheck | None, rules: Faults
) -> PoolApp:
    kind = kind_of(pool.kind, options.kernel_python)
    sessions = SessionPool(
        kind,
        Isolation(kind.programs, sandboxed=sandboxed, network=pool.egress),
        max_sessions=pool.max_sessions,
        full_status=options.full_status,
        cooldown_seconds=pool.cooldown_seconds,
        prewarmed=pool.prewarmed,
    )
    metadata = Metadata(pool.kind, options.kernel_python)
    return PoolApp(sessions, metadata, tokens=tokens, rules=rules, loose=options.loose)


def _shown(ready: Mapping[str, object]) -> str:
    """What a person needs once it is ready."""
    variables, endpoints = ready["env"], ready["endpoints"]
    lines = ["The session pool is ready. Any client finds it with these:", ""]
    if isinstance(variables, dict):
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    if isinstance(endpoints, dict) and len(endpoints) > 1:
        lines += ["", "All pools:", *(f"  {name}: {endpoint}" for name, endpoint in endpoints.items())]
    return "\n".join([*lines, "", "Ctrl-C ends it and everything in it.", ""])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m local.session_pool`: the emulator as a process of its own."""

from __future__ import annotations

import sys

from local import serve
from local.session_pool.app import create_app
from local.session_pool.auth import TokenCheck
from local.session_pool.sessions import SessionPool

AUDIENCE = "https://dynamicsessions.io"
POOL_PATH = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local/sessionPools/local"
NO_SANDBOX = "The local session pool has no sandbox: code runs as you, on this machine."


def main() -> int:
    """Runs the pool; see `--help`."""
    parser = serve.argument_parser("An emulator of an Azure Container Apps session pool.")
    parser.add_argument("--jwks-url", required=True, help="public keys of the identity endpoint that signs tokens")
    parser.add_argument("--audience", default=AUDIENCE, help="whom tokens have to be for")
    parser.add_argument("--kernel-python", default=sys.executable, help="interpreter of the sessions, with ipykernel")
    parser.add_argument("--max-sessions", type=int, default=100)
    parser.add_argument("--cooldown-seconds", type=float, default=300)
    parser.add_argument("--prewarmed", type=int, default=2, help="kernels kept ready")
    consent = parser.add_mutually_exclusive_group()
    consent.add_argument("--trusted-code-only", action="store_true", help="only code that you trust will be run")
    consent.add_argument("--unsafe-no-sandbox", action="store_true", help="run any code on this machine, unprotected")
    options = parser.parse_args()
    if not (options.trusted_code_only or options.unsafe_no_sandbox):
        sys.stderr.write(f"{NO_SANDBOX} Say --unsafe-no-sandbox if you want that, or --trusted-code-only.\n")
        return 2
    sys.stderr.write(f"{'WARNING' if options.unsafe_no_sandbox else 'Note'}: {NO_SANDBOX}\n")
    pool = SessionPool(
        options.kernel_python,
        max_sessions=options.max_sessions,
        cooldown_seconds=options.cooldown_seconds,
        prewarmed=options.prewarmed,
    )
    app = create_app(pool, TokenCheck(options.jwks_url, options.audience))
    serve.run(
        app,
        port=options.port,
        with_parent=options.with_parent,
        announce=lambda url: {"env": {"POOL_MANAGEMENT_ENDPOINT": url + POOL_PATH}},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

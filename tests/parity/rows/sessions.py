"""Sessions, what they have installed, reply headers and errors."""

from tests.parity.requirement import Requirement as R

SPEC = "API specification 2025-02-02-preview"
HEADERS = "samples, text on response headers"

ROWS = (
    R(
        "SES-01",
        "The first call that names an identifier allocates a session, later ones find it; sessions share nothing.",
        "azure-docs sessions-usage.md",
        "DOC",
    ),
    R(
        "SES-02",
        "`GET /session` shows `identifier`, `createdAt`, `lastAccessedAt`, `expireAt` and `etag`.",
        SPEC,
        "SPEC",
    ),
    R(
        "SES-03",
        "Showing or deleting a session that does not exist is answered with 404 `NoSessionFoundError`.",
        "another emulator; users' notes tell of 400 for custom containers",
        "LIVE3P",
        ours="The sentence does not repeat the identifier.",
        assumed=True,
    ),
    R(
        "SES-04",
        "`DELETE /session` answers with 204; the identifier can be used again at once and finds an empty session.",
        "API specification 2025-02-02-preview; users' notes",
        "SPEC, LIVE3P",
    ),
    R(
        "SES-05",
        "A pool has a cooldown of 300 to 3600 seconds and at most 600 sessions at once.",
        "azure-docs session-pool.md",
        "DOC",
        ours="300 seconds and 100 sessions by default; the cooldown may be shorter.",
    ),
    R("SES-06", "Every call about a session begins its cooldown anew.", "azure-docs sessions-usage.md", "DOC"),
    R(
        "SES-07",
        "A session that was not called for so long is deleted with all that is in it.",
        "azure-docs sessions.md",
        "DOC",
        ours="Not while it runs something.",
    ),
    R("SES-08", "`GET /listSessions` lists the sessions of the pool, each as in SES-02.", SPEC, "SPEC"),
    R(
        "SES-09",
        "`skip` leaves out the first ones; `nextLink` leads on while there are more.",
        SPEC,
        "SPEC",
        ours="Pages of 100, the oldest first; neither is known of the service.",
        assumed=True,
    ),
    R(
        "SES-10",
        "A full pool answers a new session with 429 and the flat body of `SessionsCountExceedsLimit`; known sessions "
        "go on.",
        "users' notes and another emulator; azure-docs session-pool.md says 404",
        "LIVE3P",
        ours="429; 404 with `--full-status 404`.",
        assumed=True,
    ),
    R(
        "SES-11",
        "The service may lose a session; the next call gets a new one and `X-Ms-New-Allocation: true`.",
        HEADERS,
        "SAMPLE, INFER",
        ours="On request, with the fault `session_loss`.",
        assumed=True,
    ),
    R(
        "META-01",
        "`GET /metadata` tells `runtimes`, `preInstalledPackages`, `createdAt`, `lastUpdatedAt` and `jupyterKernel`.",
        SPEC,
        "SPEC",
        ours="`jupyterKernel` for PythonLTS pools only.",
    ),
    R("META-02", "The versions in it are those that code finds.", SPEC, "SPEC"),
    R(
        "META-03",
        "Sessions have Python 3.12.7 with pandas, numpy, matplotlib, scipy, scikit-learn, pyarrow and others.",
        "users' notes, July 2026",
        "LIVE3P",
        differs="The machine's Python with numpy, pandas and matplotlib, to be small; `--kernel-python` takes any "
        "other environment.",
    ),
    R(
        "META-04",
        "`import pkg_resources` lists the packages.",
        "azure-docs sessions-code-interpreter.md; autogen-ext runs it first",
        "DOC, CLIENT",
    ),
    R(
        "HEAD-01",
        "`operation-id` is the execution's id, which a caller may choose by sending that header.",
        "API specification",
        "SPEC",
        ours="Letters, digits, `_` and `-`, up to 100; another value is replaced.",
    ),
    R(
        "HEAD-02",
        "`Operation-Location` is the path, below the pool, of the execution.",
        "samples, 2024-10-02-preview; the specification says URI",
        "SAMPLE",
        ours="With `api-version` and `identifier`, percent-encoded.",
    ),
    R(
        "HEAD-03",
        "`X-Ms-Session-Guid` names the session's container, and so does the session's `etag`.",
        HEADERS,
        "SAMPLE, LIVE3P",
    ),
    R("HEAD-04", "`X-Ms-New-Allocation` says whether the execution's session is a new one.", HEADERS, "SAMPLE"),
    R(
        "HEAD-05",
        "Eight headers tell how long allocation, preparation and execution took.",
        HEADERS,
        "SAMPLE",
        differs="Three of them, in milliseconds: `X-Ms-Allocation-Time`, `X-Ms-Overall-Execution-Time`, "
        "`X-Ms-Container-Execution-Duration`. The others tell of parts that are not here.",
    ),
    R(
        "HEAD-06",
        "`x-ms-error-code` repeats an error's code.",
        "API specification",
        "SPEC",
    ),
    R(
        "HEAD-07",
        "Headers about the session come with executions only.",
        HEADERS,
        "SAMPLE",
        ours="Another emulator sends two of them with files as well.",
        assumed=True,
    ),
    R(
        "HEAD-08",
        "`x-ms-session-etag` is sent as well.",
        "another emulator's recorded baseline",
        "LIVE3P",
        differs="Not sent: nobody else has seen it, and `X-Ms-Session-Guid` says the same.",
        implemented=False,
    ),
    R("ERR-01", 'Errors have the body `{"error": {"code", "message"}}`.', "API specification", "SPEC"),
    R(
        "ERR-02",
        "They carry a `traceId`.",
        "users' notes",
        "LIVE3P",
        differs="Not sent: there is no trace that it could lead to.",
        implemented=False,
    ),
    R(
        "ERR-03",
        "An invalid identifier or method is answered with 400 `SessionRequestValidationFailed`, and `target` names it.",
        "users' notes",
        "LIVE3P",
        ours="So are invalid values in a body or in `skip`, which is our guess.",
        assumed=True,
    ),
    R(
        "ERR-04",
        "A body that is no JSON is answered with 400 and problem details (RFC 9457) instead of the usual envelope.",
        "another emulator's recorded baseline",
        "LIVE3P",
        assumed=True,
    ),
    R(
        "ERR-05",
        "An operation that no version has is answered with 404.",
        "nobody says; users' notes have 400 `SessionRequestValidationFailed` for a bad endpoint",
        "INFER",
        assumed=True,
    ),
    R(
        "ERR-06",
        "The service has bad days: 429 and 5xx that pass.",
        "users' notes",
        "LIVE3P",
        ours="On request: rules of `--fault`, or over `/.local/faults`, by rate, count, session or operation. "
        "`Retry-After` only where a rule says so.",
    ),
)

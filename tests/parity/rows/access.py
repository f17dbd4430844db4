"""Where the pool is, who may call it, and how calls name a session and an API version."""

from tests.parity.requirement import Requirement as R

ROWS = (
    R(
        "END-01",
        "A code interpreter pool has one address, "
        "`https://<region>.dynamicsessions.io/subscriptions/<id>/resourceGroups/<group>/sessionPools/<pool>`, and "
        "every operation's path is appended to it.",
        "azure-docs session-pool.md",
        "DOC",
        ours="The same path below `http://127.0.0.1:<port>`, with any subscription and group.",
    ),
    R(
        "END-02",
        "Neither a slash too many, before a path or behind it, nor the case of `sessionPools` makes a difference.",
        "the tutorial's executor and Semantic Kernel .NET send double slashes",
        "CLIENT, INFER",
        assumed=True,
    ),
    R(
        "END-03",
        "A pool, group or subscription that does not exist is answered with 404.",
        "azure-docs session-pool.md",
        "DOC",
        ours="404 with the code `SessionPoolNotFound`, which is our guess.",
        differs="An emulator of a single pool answers to any name, so that a copied endpoint works.",
    ),
    R(
        "END-04",
        "Clients made for the interpreter's container image find the operations at the root of a host.",
        "samples, api-spec of the container image",
        "SAMPLE",
        ours="The first pool is also at the root.",
    ),
    R(
        "END-05",
        "The service speaks https only, and some clients refuse anything else.",
        "Semantic Kernel Python, the Agent Framework's .NET sample",
        "CLIENT",
        ours="`--tls`, with a certificate made for the run; plain http by default, on loopback.",
    ),
    R(
        "AUTH-01",
        "Calls bring an Entra token for the audience `https://dynamicsessions.io` (scope "
        "`https://dynamicsessions.io/.default`) as a bearer token.",
        "API specification, security definitions; azure-docs sessions-usage.md",
        "SPEC, DOC",
        ours="Signature, audience and expiry are checked; the tokens are those of the local identity endpoint.",
    ),
    R("AUTH-02", "Without a valid token the reply is 401 with an empty body.", "users' notes", "LIVE3P"),
    R("AUTH-03", "So it is with a token for another audience.", "users' notes", "LIVE3P"),
    R(
        "AUTH-04",
        "A token works until it expires: a client that never renews it gets 401 after about an hour.",
        "the tutorial's executor",
        "CLIENT",
        ours="The local tokens live for a day, as autogen-ext never renews its own; `--token-lifetime` shortens that.",
    ),
    R(
        "AUTH-05",
        "A caller without the role *Azure ContainerApps Session Executor* is answered with 403, also for a while after "
        "it was assigned.",
        "users' notes, one of which has 401 instead; run-llama/LlamaIndexTS issue 941",
        "LIVE3P",
        ours="Every caller has the role until a rule of `--fault status=403` takes it away; the body is our guess.",
        assumed=True,
    ),
    R(
        "AUTH-06",
        "The audience `https://acasessions.io` is what some clients still ask for by default.",
        "Semantic Kernel Python, LangChain.js",
        "CLIENT",
        ours="Refused with 401; `--audience` makes it the pool's. Whether the service still takes it is unknown.",
        assumed=True,
    ),
    R(
        "ID-01",
        "Calls about one session name it with the query parameter `identifier`; without it they are invalid (400, "
        "`SessionRequestValidationFailed`).",
        "API specification; users' notes",
        "SPEC, LIVE3P",
    ),
    R(
        "ID-02",
        "An identifier has 4 to 128 characters: letters, digits, and of the signs at least "
        "``_ | } { [ ] : \" ; ' < > ? / . , @ # $ % ^ & * ( ) - + = ! ~ ` ``.",
        "API specification 2025-10-02-preview; azure-docs sessions-usage.md",
        "SPEC, DOC",
        ours="The largest of three sets that contradict each other; older specifications allow 1 to 256 characters.",
        assumed=True,
    ),
    R(
        "ID-03",
        "Any other identifier is answered with 400 `SessionRequestValidationFailed`, whose `target` names it.",
        "users' notes",
        "LIVE3P",
        ours="As for ID-02: what counts as other is our choice.",
        assumed=True,
    ),
    R("ID-04", "An `identifier` in the body of an execution is ignored.", "samples, 2024-10-02-preview", "SAMPLE"),
    R(
        "VER-01",
        "`api-version` is one of 2024-02-02-preview, 2024-08-02-preview, 2024-10-02-preview, 2025-02-02-preview and "
        "2025-10-02-preview.",
        "API specifications; samples; azure-docs",
        "SPEC, SAMPLE, DOC",
        ours="One adapter each over one core. What the service has retired meanwhile is unknown.",
    ),
    R(
        "VER-02",
        "An unknown version is answered with 401 and an empty body, like a bad token.",
        "users' notes; Azure/azure-cli-extensions pull request 8249",
        "LIVE3P",
        ours="`--loose` takes the newest for it. 2024-09-01, a draft that no client uses, counts as unknown.",
    ),
    R(
        "VER-03",
        "A missing version is answered like an unknown one.",
        "users' notes, which also tell of 400 `SessionRequestValidationFailed` for a bad version",
        "LIVE3P, INFER",
        assumed=True,
    ),
    R(
        "VER-04",
        "An operation that only another version has is answered with 400 `SessionRequestNotSupported`.",
        "users' notes",
        "LIVE3P",
        ours="`--loose` carries it out in the version that has it.",
    ),
    R(
        "VER-05",
        "A session can be shown and deleted, sessions be listed and metadata be read since 2025-02-02-preview.",
        "API specifications",
        "SPEC",
        ours="2024-10-02-preview answers as for VER-04; its specification has examples of these, but no paths.",
        assumed=True,
    ),
    R(
        "VER-06",
        "2025-10-02-preview adds `recursive` and `directory` to files, `outputStreamsMaxLength` and `useEmptyKernel` "
        "to executions.",
        "API specification 2025-10-02-preview",
        "SPEC",
        ours="Older versions ignore them in requests and leave them out of replies.",
    ),
    R(
        "VER-07",
        "The reply header `api-supported-versions` lists the versions.",
        "another emulator's recorded baseline",
        "LIVE3P",
        differs="Not sent: no client reads it, and which replies have it is unknown.",
        implemented=False,
    ),
)

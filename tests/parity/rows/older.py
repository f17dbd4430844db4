"""The versions of early 2024 and the paths before them, which most published clients speak."""

from tests.parity.requirement import Requirement as R

CLIENTS = "LangChain, LlamaIndex, Semantic Kernel, autogen-ext"
TUTORIAL = "the tutorial's executor, early Semantic Kernel and LangChain"

ROWS = (
    R(
        "OLD-01",
        "`POST /code/execute` takes and gives bodies wrapped in `properties`, with the status `Success` or `Failure`.",
        f"azure-docs until January 2026; {CLIENTS}",
        "DOC, CLIENT",
        ours="In both 2024-02-02-preview and 2024-08-02-preview.",
    ),
    R(
        "OLD-02",
        "The value is called `result`, and `executionResult` in some of Microsoft's own texts.",
        f"{CLIENTS}; samples",
        "CLIENT, SAMPLE",
        ours="Under both names.",
    ),
    R(
        "OLD-03",
        "The value is the JSON in what the kernel prints for it, or else that text.",
        "the one rule that serves autogen-ext's and LangChain's tests",
        "CLIENT, INFER",
        assumed=True,
    ),
    R(
        "OLD-04",
        "A picture is an object as in RES-06.",
        "LangChain, LlamaIndex, autogen-ext",
        "CLIENT",
        differs="Under `result` only: clients take its bytes out of that, and under a second name they would reach the "
        "model.",
    ),
    R(
        "OLD-05",
        "A body without `properties` or without code is answered with 400 `SessionPropertiesMissing`.",
        "concluded from the newer versions",
        "INFER",
        ours="`--loose` takes a flat body.",
        assumed=True,
    ),
    R(
        "OLD-06",
        "`POST /files/upload`, `GET /files` and `GET /files/{name}` answer with one envelope: a list `value` of "
        "objects whose `properties` are `filename`, `size` and `lastModifiedTime`.",
        f"{CLIENTS}; samples. The Azure CLI's test expects a single file without the list",
        "CLIENT, SAMPLE",
        ours="Files only, no directories.",
        assumed=True,
    ),
    R("OLD-07", "`GET /files/content/{name}` answers with the bytes.", CLIENTS, "CLIENT"),
    R(
        "OLD-08",
        "`DELETE /files/{name}` deletes a file.",
        "samples, 2024-08-02-preview",
        "SAMPLE",
        ours="With 204; the container image answers 200.",
        assumed=True,
    ),
    R(
        "OLD-09",
        "Executions can be asynchronous.",
        "the word `synchronous` in these bodies",
        "INFER",
        differs="Answered with 501: no text tells how a caller would learn the outcome, and no client asks.",
        assumed=True,
        implemented=False,
    ),
    R(
        "OLD-10",
        "All versions see the same sessions: one used by an older version can be deleted by a newer one.",
        "LangChain",
        "CLIENT",
    ),
    R(
        "OLD-11",
        "`POST /python/execute` takes `pythonCode`, and the identifier in the body or the query, with or without a "
        "version, and answers flat.",
        TUTORIAL,
        "CLIENT",
        ours="Served with any version. The service has retired these paths; when and how it refuses them is unknown.",
        assumed=True,
    ),
    R(
        "OLD-12",
        "`POST /python/uploadFile`, `GET /python/files` and `GET /python/downloadFile?filename=` serve files, listed "
        "as `$values`.",
        TUTORIAL,
        "CLIENT",
        ours="With every field that one of them reads; `fileName` in the query does as well.",
        assumed=True,
    ),
)

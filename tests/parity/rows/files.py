"""Files of a session since 2024-10-02-preview."""

from tests.parity.requirement import Requirement as R

SPEC = "API specification"
LIMITS = "azure-docs sessions-code-interpreter.md"

ROWS = (
    R(
        "FILE-01",
        "`POST /files` with a multipart part `file` stores a file and answers with one object: `name`, `type`, "
        "`contentType`, `sizeInBytes`, `lastModifiedAt`.",
        SPEC,
        "SPEC",
        ours="The content type is guessed from the name, without a character set; the time has six digits after the "
        "point, the service's up to nine.",
    ),
    R(
        "FILE-02",
        "Without a `path` it is in `/mnt/data`, where code finds it and leaves its own.",
        "users' notes",
        "LIVE3P",
    ),
    R(
        "FILE-03",
        "`path` may also name that directory itself, as `/` or as `/mnt/data`.",
        "API specification; LangChain's bash tool",
        "SPEC, CLIENT",
    ),
    R(
        "FILE-04",
        "`path` names a directory below it for every operation on files, and an upload makes it.",
        "API specification; that it is made, nobody says",
        "SPEC, INFER",
        assumed=True,
    ),
    R(
        "FILE-05",
        "`GET /files` lists them as `value` with a `nextLink`; for a new session the list is empty, and the call "
        "allocates it.",
        "API specification; users' notes",
        "SPEC, LIVE3P",
        ours="In one page of at most 10,000, so `nextLink` is always null.",
    ),
    R(
        "FILE-06",
        "Directories are listed too, with the type `directory`.",
        "API specification 2025-10-02-preview, example; users' notes",
        "SPEC, LIVE3P",
        ours="In lower case in all versions; the specification of 2025-02-02-preview writes `Directory` and `File`.",
    ),
    R(
        "FILE-07",
        "`recursive=true` lists what is below as well, and `directory` says where each is, `.` being the top.",
        "API specification 2025-10-02-preview; users' notes for the point",
        "SPEC, LIVE3P",
        ours="Below the top it is the path without a slash before it, which is our guess.",
        assumed=True,
    ),
    R("FILE-08", "`GET /files/{name}` answers with the same object.", SPEC, "SPEC"),
    R(
        "FILE-09",
        "`GET /files/{name}/content` answers with the bytes, as `application/octet-stream` or the file's type.",
        SPEC,
        "SPEC",
        ours="Always the former.",
    ),
    R("FILE-10", "`DELETE /files/{name}` answers with 204.", SPEC, "SPEC"),
    R(
        "FILE-11",
        "A missing file is answered with 404.",
        "users' notes; the code by another emulator",
        "LIVE3P",
        ours="`FileNotFound`, also for a missing directory.",
    ),
    R("FILE-12", "Deleting a missing file is answered with 404 `DeleteFileError`.", "users' notes", "LIVE3P"),
    R(
        "FILE-13",
        "Names have letters (any script's), digits, spaces and `- _ . @ $ & = ; , # % ^ ( )`.",
        LIMITS,
        "DOC",
    ),
    R(
        "FILE-14",
        "Other characters are answered with 400 `FilePathInvalid`.",
        "another emulator",
        "LIVE3P",
        ours="The sentence does not repeat the path.",
        assumed=True,
    ),
    R("FILE-15", "A directory's name has no dot, so that `..` cannot be one.", LIMITS, "DOC"),
    R(
        "FILE-16",
        "A file over 128 MB is answered with 413.",
        LIMITS,
        "DOC",
        ours="As soon as its announced or actual size is too large; it goes to disk while it arrives.",
    ),
    R("FILE-17", "An upload replaces a file of its name.", "nobody says", "INFER", assumed=True),
    R("FILE-18", "An upload without a file is answered with 400.", "nobody says", "INFER", assumed=True),
    R(
        "FILE-19",
        "A file named with the directory's path before it, `/mnt/data/x`, is stored as `x`.",
        "LlamaIndex and Semantic Kernel send such names",
        "CLIENT",
        assumed=True,
    ),
    R("FILE-20", "An upload may come in chunks, without a length.", "autogen-ext sends it so", "CLIENT"),
    R(
        "FILE-21",
        "A link that code makes leads nowhere outside the session.",
        "the service gives each session a machine of its own",
        "INFER",
        ours="Links are neither listed nor followed.",
        assumed=True,
    ),
    R(
        "FILE-22",
        "A download has the headers `Accept-Ranges` and `Last-Modified`.",
        "samples, for the older path",
        "SAMPLE",
        differs="Not sent, and `Range` is not read: no client uses them.",
        implemented=False,
    ),
)

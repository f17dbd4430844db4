"""AutoGen's code executor over a session of an Azure Container Apps session pool."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from shared import errors, execution_text
from shared.code_blocks import MarkdownBlocks, UnsupportedLanguage, cell
from shared.deadline import Deadline
from shared.identity import POOL_SCOPE, BearerTokens
from shared.session_pool import DEFAULT_API_VERSION, SessionPool, process_pool
from shared.session_wire import EXECUTION_SECONDS_MAX, Execution, Picture, SessionFile

if TYPE_CHECKING:
    from autogen.coding import CodeBlock, CodeExtractor, CodeResult
    from azure.core.credentials import TokenCredential

FILE_BYTES_MAX = 128_000_000
DEFAULT_OUTPUT_LIMIT = 20_000
# What a use outside a chat may take: one full execution with its session's start.
DEFAULT_CALL_SECONDS = EXECUTION_SECONDS_MAX + 60.0
_FILE_NAME = re.compile(r"[\w\- .@$&=;,#%^()]{1,255}")


@dataclass(frozen=True)
class BlocksResult:
    """What became of the blocks of one message.

    Attributes:
        exit_code: 0 if all succeeded, else 1.
        output: what the model reads of them.
        pictures: names and pictures, in the order of the blocks.
    """

    exit_code: int
    output: str
    pictures: tuple[tuple[str, Picture], ...]


def session_identifier(caller: str, session_id: str) -> str:
    """What the pool calls the session of a caller: a digest, so that it can be neither guessed nor chosen.

    Args:
        caller: who asks; empty where callers are not told apart.
        session_id: the name of the conversation among that caller's.
    """
    return hashlib.sha256(f"{len(caller)}:{caller}:{session_id}".encode()).hexdigest()


def check_file_name(name: str) -> None:
    """Refuses names that a session does not take, and every path.

    Raises:
        ValueError: with the rule.
    """
    if not _FILE_NAME.fullmatch(name) or name.strip(" .") == "":
        raise ValueError(
            "A file name is 1 to 255 letters, digits, spaces or any of - _ . @ $ & = ; , # % ^ ( ), without a path."
        )


class ACASessionsExecutor:
    """Runs the code blocks of an AutoGen chat in one session; conforms to AutoGen's `CodeExecutor`.

        executor = ACASessionsExecutor("https://<region>.dynamicsessions.io/subscriptions/...")
        runner = ConversableAgent("CodeExecutor", code_execution_config={"executor": executor}, ...)

    Without AutoGen it is a session with `run`, `upload_file`, `list_files`, `download_file`,
    `delete_file` and `delete_session`; as a context manager it deletes the session at its end.

    Args:
        pool_management_endpoint: of the session pool.
        credential: any azure-identity credential; None for the process's managed identity or sign-in.
        session_id: goes on in an earlier session; None for a new one.
        caller: whose session it is; two callers with one session_id have two sessions.
        client_id: of a user-assigned identity, without `credential`.
        api_version: of the session pool, 2024-10-02-preview or later.
        execution_timeout_seconds: for each block, at most 220.
        output_limit: most characters of a block's output that the model reads.
        deadline: bounds all calls together; None bounds each call by itself.

    Raises:
        SettingError: the endpoint or the version is not of its form.
    """

    def __init__(
        self,
        pool_management_endpoint: str,
        *,
        credential: TokenCredential | None = None,
        session_id: str | None = None,
        caller: str = "",
        client_id: str = "",
        api_version: str = DEFAULT_API_VERSION,
        execution_timeout_seconds: int = 120,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
        deadline: Deadline | None = None,
    ) -> None:
        if credential is None:
            self._pool = process_pool(pool_management_endpoint, api_version, client_id)
        else:
            tokens = BearerTokens(POOL_SCOPE, credential=credential)
            self._pool = SessionPool(pool_management_endpoint, tokens=tokens, api_version=api_version)
        self.session_id = session_id or uuid.uuid4().hex
        self._caller = caller
        self._timeout_seconds = min(execution_timeout_seconds, EXECUTION_SECONDS_MAX)
        self._output_limit = output_limit
        self._deadline = deadline
        self._resumed = session_id is not None
        self._executions = 0
        self._session_guid = ""
        self._provided: dict[str, bytes] = {}
        self._picture_count = 0
        self._last: BlocksResult | None = None

    @property
    def code_extractor(self) -> CodeExtractor:
        """Finds the blocks of a message, as AutoGen asks for it."""
        return MarkdownBlocks()

    def execute_code_blocks(self, code_blocks: list[CodeBlock]) -> CodeResult:
        """Runs blocks one after another; after one that fails the rest is not run.

        Code that fails, times out or kills its kernel is a result with exit code 1 that tells the model what
        to do.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolError: the pool failed or refused; not for the model.
            IdentityError: no token could be had.
        """
        from autogen.coding import CodeResult

        texts: list[str] = []
        pictures: list[tuple[str, Picture]] = []
        exit_code = 0
        try:
            for number, block in enumerate(code_blocks, 1):
                exit_code, text, picture = self._run_block(block.language, block.code)
                heading = f"block {number} of {len(code_blocks)}\n" if len(code_blocks) > 1 else ""
                texts.append(heading + text)
                if picture:
                    pictures.append(picture)
                if exit_code:
                    left = len(code_blocks) - number
                    if left:
                        texts.append(f"note: the remaining {left} of {len(code_blocks)} blocks were not run.")
                    break
        finally:
            # A deadline in the middle keeps what the blocks before it have given.
            self._last = BlocksResult(exit_code, "\n\n".join(texts), tuple(pictures)) if texts else None
        return CodeResult(exit_code=exit_code, output="\n\n".join(texts))

    def take_result(self) -> BlocksResult | None:
        """What the last `execute_code_blocks` led to, once; None if it was taken or nothing ran."""
        result, self._last = self._last, None
        return result

    def run(self, code: str) -> Execution:
        """Runs Python, or a cell magic, and returns all of it; raises as `execute_code_blocks` does."""
        execution = self._pool.execute(
            self._identifier, code, timeout_seconds=self._timeout_seconds, deadline=self._bound()
        )
        self._session_guid = execution.session_guid or self._session_guid
        self._executions += 1
        return execution

    def restart(self) -> None:
        """Ends the session, so that the next code finds an empty one; provided files are put there again."""
        self.delete_session()
        for name, content in self._provided.items():
            self.upload_file(name, content)

    def provide_files(self, files: Mapping[str, bytes]) -> None:
        """Uploads files now, and again whenever the session turns out to have been lost.

        Args:
            files: names and contents.

        Raises:
            ValueError: a name is not allowed.
            PoolError: the pool failed or refused.
        """
        for name, content in files.items():
            self.upload_file(name, content)
        self._provided.update(files)

    def upload_file(self, name: str, content: bytes) -> SessionFile:
        """Puts a file into /mnt/data; one of that name is replaced.

        Args:
            name: without a path.
            content: at most 128 MB.

        Raises:
            ValueError: the name is not allowed.
            PoolLimitExceeded: the file is too large.
            PoolError: the pool failed or refused.
        """
        check_file_name(name)
        if len(content) > FILE_BYTES_MAX:
            raise errors.PoolLimitExceeded
        return self._pool.upload(self._identifier, name, content, deadline=self._bound())

    def list_files(self, *, deadline: Deadline | None = None) -> list[SessionFile]:
        """The files below /mnt/data; asking starts the session where there is none.

        Args:
            deadline: instead of the executor's own.
        """
        return self._pool.list_files(self._identifier, deadline=deadline or self._bound())

    def download_file(self, path: str, *, deadline: Deadline | None = None) -> bytes:
        """A file's content.

        Args:
            path: as `list_files` gives it.
            deadline: instead of the executor's own.

        Raises:
            SessionFileNotFound: there is no such file.
            PoolError: the pool failed or refused.
        """
        return self._pool.download(self._identifier, path, deadline=deadline or self._bound())

    def delete_file(self, path: str) -> None:
        """Deletes a file; raises as `download_file` does."""
        self._pool.delete_file(self._identifier, path, deadline=self._bound())

    def session_exists(self) -> bool:
        """Whether the pool has this session now; asking starts none."""
        return self._pool.session_exists(self._identifier, deadline=self._bound())

    def delete_session(self) -> bool:
        """Ends the session with its variables and files; says whether there was one."""
        self._executions, self._session_guid, self._resumed = 0, "", False
        return self._pool.delete_session(self._identifier, deadline=self._bound())

    def __enter__(self) -> ACASessionsExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.delete_session()

    @property
    def _identifier(self) -> str:
        return session_identifier(self._caller, self.session_id)

    @property
    def started(self) -> bool:
        """Whether this executor has put code or files into the session."""
        return self._executions > 0 or bool(self._provided)

    def _bound(self) -> Deadline:
        return self._deadline or Deadline.after(DEFAULT_CALL_SECONDS)

    def _run_block(self, language: str, code: str) -> tuple[int, str, tuple[str, Picture] | None]:
        try:
            source = cell(language, code)
        except UnsupportedLanguage as refusal:
            return 1, str(refusal), None
        known_guid, ran_before = self._session_guid, self._executions > 0
        left = math.floor(self._bound().remaining())
        execution = self.run(source)
        note = self._loss(execution, known_guid, ran_before)
        picture = None
        if execution.picture is not None:
            self._picture_count += 1
            extension = execution.picture.content_type.removeprefix("image/").split("+")[0]
            picture = (f"picture-{self._picture_count}.{extension}", execution.picture)
        text = execution_text.describe(
            execution,
            timeout_seconds=max(1, min(self._timeout_seconds, left)),
            limit=self._output_limit,
            picture_name=picture[0] if picture else None,
        )
        return int(not execution.succeeded), f"{note}\n{text}" if note else text, picture

    def _provide_missing(self) -> None:
        if not self._provided:
            return
        # The code has run already and may have written files of these names itself.
        present = {file.path for file in self.list_files()}
        for name in self._provided.keys() - present:
            self.upload_file(name, self._provided[name])

    def _loss(self, execution: Execution, known_guid: str, ran_before: bool) -> str:
        other_container = bool(known_guid and execution.session_guid and known_guid != execution.session_guid)
        if not (other_container or execution.new_allocation):
            return ""
        self._provide_missing()
        if ran_before:
            again = f" The files you were given are there again: {', '.join(self._provided)}."
            return execution_text.SESSION_LOST + (again if self._provided else "")
        # Where files were provided the upload had started the session: the code did not find them here.
        if self._provided and not execution.succeeded:
            return execution_text.FILES_PROVIDED_AGAIN
        return execution_text.NEW_SESSION if self._resumed else ""

"""AutoGen's code executor over a session of an Azure Container Apps session pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import execution_text
from shared.code_blocks import MarkdownBlocks, UnsupportedLanguage, cell
from shared.deadline import Deadline
from shared.errors import PoolError, PoolOutcomeUnknown
from shared.pictures import PictureRoom, ShownPicture
from shared.session import Session
from shared.session_wire import DEFAULT_API_VERSION, Execution, Picture
from shared.settings import Settings

if TYPE_CHECKING:
    from autogen.coding import CodeBlock, CodeExtractor, CodeResult
    from azure.core.credentials import TokenCredential


@dataclass(frozen=True)
class BlocksResult:
    """What became of the blocks of one message.

    Attributes:
        exit_code: 0 if all succeeded, else 1.
        output: what the model reads of them.
        pictures: in the order of the blocks.
    """

    exit_code: int
    output: str
    pictures: tuple[ShownPicture, ...]


class ACASessionsExecutor(Session):
    """Runs the code blocks of an AutoGen chat in one session; conforms to AutoGen's `CodeExecutor`.

        executor = ACASessionsExecutor("https://<region>.dynamicsessions.io/subscriptions/...")
        runner = ConversableAgent("CodeExecutor", code_execution_config={"executor": executor}, ...)

    Without AutoGen it is a session with `run`, `upload_file`, `list_files`, `download_file`,
    `delete_file` and `delete_session`; as a context manager it deletes the session at its end.

    Args:
        pool_management_endpoint: of the session pool, or of several with commas between them, as in `Session`.
        credential: any azure-identity credential; None for the process's managed identity or sign-in.
        session_id: goes on in an earlier session; None for a new one.
        caller: whose session it is; two callers with one session_id have two sessions.
        client_id: of a user-assigned identity, without `credential`.
        api_version: of the session pool, 2024-10-02-preview or later.
        execution_timeout_seconds: for each block, at most 220.
        output_limit: most characters of a message's output, all its blocks together, that the model reads.
        picture_room: how many pictures are kept, over all messages; None keeps all.
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
        execution_timeout_seconds: int = Settings.execution_timeout_seconds,
        output_limit: int = Settings.output_max_characters,
        picture_room: PictureRoom | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        super().__init__(
            pool_management_endpoint,
            credential=credential,
            session_id=session_id,
            caller=caller,
            client_id=client_id,
            api_version=api_version,
            execution_timeout_seconds=execution_timeout_seconds,
            deadline=deadline,
        )
        self._output_limit = output_limit
        self._picture_room = picture_room
        self._picture_count = 0
        self._last: BlocksResult | None = None
        self._operation_ids: Callable[[int], str] | None = None
        self._begun = False

    def name_executions(self, operation_ids: Callable[[int], str], *, begun: bool = False) -> None:
        """Gives the executions of the next message's blocks names, so that none of them runs twice.

        Where the pool's answer to a named execution is lost, the session is asked what became of it.

        Args:
            operation_ids: from the number of a block, from 1, to its execution's id.
            begun: another process may have begun them: the session is asked before a block is run.
        """
        self._operation_ids = operation_ids
        self._begun = begun

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
        pictures: list[ShownPicture] = []
        exit_code, characters_left = 0, self._output_limit
        try:
            for number, block in enumerate(code_blocks, 1):
                blocks_left = len(code_blocks) - number
                # What a block does not need of its share goes to those behind it.
                share = max(0, characters_left) // (blocks_left + 1)
                exit_code, text = self._run_block(number, block, share, pictures)
                heading = f"block {number} of {len(code_blocks)}\n" if len(code_blocks) > 1 else ""
                texts.append(heading + text)
                characters_left -= len(texts[-1])
                if exit_code:
                    if blocks_left:
                        texts.append(f"note: the remaining {blocks_left} of {len(code_blocks)} blocks were not run.")
                    break
        finally:
            # A deadline in the middle keeps what the blocks before it have given.
            self._last = BlocksResult(exit_code, "\n\n".join(texts), tuple(pictures)) if texts else None
        return CodeResult(exit_code=exit_code, output="\n\n".join(texts))

    def take_result(self) -> BlocksResult | None:
        """What the last `execute_code_blocks` led to, once; None if it was taken or nothing ran."""
        result, self._last = self._last, None
        return result

    def show_again(self, names: Sequence[str], operation_ids: Sequence[str]) -> list[ShownPicture]:
        """The pictures of an earlier message; none where the session does not have them all any more.

        Args:
            names: as they were shown.
            operation_ids: of the message's executions.

        Raises:
            DeadlineReached: the deadline has passed.
        """
        self._picture_count += len(names)
        pictures = [execution.picture for execution in self._found(operation_ids) if execution.picture]
        if len(pictures) != len(names):
            return []
        return [self._show(name, picture) for name, picture in zip(names, pictures, strict=True)]

    def _found(self, operation_ids: Sequence[str]) -> Iterator[Execution]:
        for operation_id in operation_ids:
            # The answer does not depend on it.
            with suppress(PoolError):
                execution = self.find_execution(operation_id)
                if execution is not None:
                    yield execution

    def _run_block(self, number: int, block: CodeBlock, limit: int, pictures: list[ShownPicture]) -> tuple[int, str]:
        try:
            source = cell(block.language, block.code)
        except UnsupportedLanguage as refusal:
            return 1, str(refusal)
        execution = self._execution(number, source)
        picture = self._shown(execution)
        if picture is not None:
            pictures.append(picture)
        text = execution_text.describe(execution, limit=limit, picture=picture)
        return int(not execution.succeeded), "\n".join([*self.take_notes(), text])

    def _execution(self, number: int, source: str) -> Execution:
        if self._operation_ids is None:
            return self.run(source)
        operation_id = self._operation_ids(number)
        # A session that does not know it has not begun it, or, in a service that forgets, has: no document says
        # how long an execution is kept. Then the block runs again, as it would in a notebook that lost its page.
        found = self.find_execution(operation_id) if self._begun else None
        if found is not None:
            return found
        try:
            return self.run(source, operation_id=operation_id)
        except PoolOutcomeUnknown:
            found = self.find_execution(operation_id)
            # What ran in a session that is gone has left nothing.
            if found is None and self.resume():
                raise
            return found or self.run(source, operation_id=operation_id)

    def _shown(self, execution: Execution) -> ShownPicture | None:
        picture = execution.picture
        if picture is None:
            return None
        self._picture_count += 1
        extension = picture.content_type.removeprefix("image/").split("+")[0]
        name = f"picture-{self._picture_count}.{extension}"
        return self._show(name, picture)

    def _show(self, name: str, picture: Picture) -> ShownPicture:
        return self._picture_room.show(name, picture) if self._picture_room else ShownPicture(name, picture)

"""One session of a pool: its code, its files, and how its user learns that it was lost."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from shared import errors, execution_text
from shared.deadline import Deadline
from shared.errors import DeadlineReached, ServiceError
from shared.file_names import check_file_name
from shared.identity import POOL_SCOPE, BearerTokens
from shared.pool_transport import REPLY_BYTES_MAX
from shared.session_losses import SessionLosses
from shared.session_pool import SessionPool
from shared.session_pools import SessionPlace, SessionPools, process_pools
from shared.session_wire import DEFAULT_API_VERSION, EXECUTION_SECONDS_MAX, Execution, SessionFile, knows_sessions
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from typing_extensions import Self

FILE_BYTES_MAX = 128_000_000
# What a use outside a chat may take: one full execution with its session's start.
DEFAULT_CALL_SECONDS = EXECUTION_SECONDS_MAX + 60.0

_log = logging.getLogger(__name__)


def session_identifier(caller: str, session_id: str) -> str:
    """What the pool calls the session of a caller: a digest, so that no caller can choose another one's.

    Args:
        caller: who asks; empty where callers are not told apart, and all who know a `session_id` share its session.
        session_id: the name of the conversation among that caller's.
    """
    return hashlib.sha256(f"{len(caller)}:{caller}:{session_id}".encode()).hexdigest()


class Session:
    """A session by its `session_id`; the pool starts it when it is first used.

    As a context manager it ends the session and closes what is its own.

    Args:
        pool_management_endpoint: of the session pool, or of several with commas between them. Where the pool of a new
            session is full or cannot be reached, its first call gives it another `session_id`, in another pool.
        credential: any azure-identity credential; None for the process's managed identity or sign-in.
        session_id: goes on in an earlier session; None for a new one.
        caller: whose session it is; two callers with one session_id have two sessions.
        client_id: of a user-assigned identity, without `credential`.
        api_version: of the session pool, 2024-10-02-preview or later.
        execution_timeout_seconds: for each execution, at most 220.
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
        deadline: Deadline | None = None,
    ) -> None:
        self._own_pools: SessionPools | None = None
        if credential is None:
            pools = process_pools(pool_management_endpoint, api_version, client_id)
        else:
            tokens = BearerTokens(POOL_SCOPE, credential=credential)
            pools = SessionPools(pool_management_endpoint, tokens=tokens, api_version=api_version)
            self._own_pools = pools
        self._place = SessionPlace(pools, partial(session_identifier, caller), session_id)
        self._api_version = api_version
        self._timeout_seconds = execution_timeout_seconds
        self._deadline = deadline
        self._started = False
        self._losses = SessionLosses(execution_text.NEW_SESSION if session_id is not None else "")
        self._provided: dict[str, bytes] = {}
        self._provided_files: dict[str, SessionFile] = {}

    @property
    def session_id(self) -> str:
        """The session's name among its caller's; one that is set is another session's, which is known."""
        return self._place.session_id

    @session_id.setter
    def session_id(self, session_id: str) -> None:
        self._place.session_id = session_id

    def run(self, code: str, *, operation_id: str | None = None) -> Execution:
        """Runs Python, or a cell magic, and returns all that came of it.

        Args:
            code: what to run.
            operation_id: by which `find_execution` finds it again, in another process too.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolError: the pool failed or refused.
            IdentityError: no token could be had.
        """
        execution = self._place.call(
            lambda bound: self._execute(code, bound, operation_id), self._begin(), repeatable=False
        )
        self._notice_loss(execution)
        self._losses.code_has_run()
        return execution

    def find_execution(self, operation_id: str) -> Execution | None:
        """What became of an execution that was begun before, once it has ended; None if the session knows none such.

        Raises:
            DeadlineReached, PoolError, IdentityError: as `run`.
        """
        found = self._pool.find_execution(
            self._identifier, operation_id, timeout_seconds=self._timeout_seconds, deadline=self._begin()
        )
        if found is not None:
            self._notice_loss(found)
            self._losses.code_has_run()
        return found

    def take_up(self, files: Mapping[str, bytes], *, code_has_run: bool) -> bool:
        """Goes on with what another process began in the session, and says whether it is still there.

        If it is not, the notes say so and the files are provided again.

        Args:
            files: what was provided then.
            code_has_run: whether code of this conversation has left anything that a loss takes away.

        Raises:
            DeadlineReached, PoolError, IdentityError: as `run`.
        """
        self._started = True
        if code_has_run:
            self._losses.code_has_run()
        there = self.resume()
        if there:
            self._provided = dict(files)
        else:
            self.provide_files(files)
        return there

    def resume(self) -> bool:
        """Whether the session of an earlier conversation is still there; if not, the notes say so.

        API versions without /session tell it with an execution only, so an empty one runs there.

        Raises:
            DeadlineReached, PoolError, IdentityError: as `run`.
        """
        if knows_sessions(self._api_version):
            there = self.session_exists()
        else:
            there = not self._losses.is_lost_in(self._execute("pass", self._bound()))
        if not there:
            self._losses.note()
        return there

    def note_new(self) -> None:
        """Has the notes say that the session is new, as another process has found it."""
        self._losses.note(execution_text.NEW_SESSION)

    @property
    def has_notes(self) -> bool:
        """Whether there is anything to tell of the session."""
        return self._losses.untold

    def take_notes(self) -> list[str]:
        """What became of the session since the last call, in words for a model: that it was lost, and what with it."""
        return self._losses.take()

    def restart(self) -> None:
        """Ends the session, so that the next code finds an empty one; provided files are put there again.

        Where the API version cannot end it, it goes on as `delete_session` says.
        """
        self.delete_session()
        self.provide_files(self._provided)

    def provide_files(self, files: Mapping[str, bytes]) -> None:
        """Uploads files now, and again whenever the session turns out to have been lost.

        Args:
            files: names and contents.

        Raises:
            ValueError: a name is not allowed.
            PoolError: the pool failed or refused.
        """
        for name, content in list(files.items()):
            self._provided_files[name] = self.upload_file(name, content)
            self._provided[name] = content

    @property
    def provided_files(self) -> Mapping[str, SessionFile]:
        """The provided files as the pool described them after their upload, by name."""
        return self._provided_files

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
        return self._place.call(
            lambda bound: self._pool.upload(self._identifier, name, content, deadline=bound), self._begin()
        )

    def list_files(self, *, deadline: Deadline | None = None) -> list[SessionFile]:
        """The files below /mnt/data; asking starts the session where there is none.

        Args:
            deadline: instead of the session's own.
        """
        return self._place.call(
            lambda bound: self._pool.list_files(self._identifier, deadline=bound), deadline or self._bound()
        )

    def download_file(
        self, path: str, *, deadline: Deadline | None = None, limit_bytes: int = REPLY_BYTES_MAX
    ) -> bytes:
        """A file's content.

        Args:
            path: as `list_files` gives it.
            deadline: instead of the session's own.
            limit_bytes: a longer file is not read to its end.

        Raises:
            SessionFileNotFound: there is no such file.
            PoolLimitExceeded: the file is longer than `limit_bytes`.
            PoolError: the pool failed or refused.
        """
        bound = deadline or self._bound()
        return self._pool.download(self._identifier, path, deadline=bound, limit_bytes=limit_bytes)

    def delete_file(self, path: str) -> None:
        """Deletes a file; raises as `download_file` does."""
        self._pool.delete_file(self._identifier, path, deadline=self._bound())

    def session_exists(self) -> bool:
        """Whether the pool has this session now; asking starts none. API versions without /session say yes."""
        return self._pool.session_exists(self._identifier, deadline=self._bound())

    def delete_session(self) -> bool:
        """Ends the session with its variables and files; says whether there was one.

        API versions without /session cannot end one: it lives until its cooldown, and from now on this is
        another session with a new `session_id`.
        """
        ended = self._pool.delete_session(self._identifier, deadline=self._bound())
        if not knows_sessions(self._api_version):
            _log.warning("This API version cannot end a session: it lives on until its cooldown.")
            self.session_id = uuid.uuid4().hex
        self._started = False
        self._losses = SessionLosses()
        return ended

    @property
    def started(self) -> bool:
        """Whether code or files were sent to the session."""
        return self._started

    def close(self) -> None:
        """Closes the connections that a credential of its own has brought; the process's own stay open."""
        if self._own_pools is not None:
            self._own_pools.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.delete_session()
        except (ServiceError, DeadlineReached) as failure:
            if error is None:
                raise
            # What went wrong inside the block matters more.
            _log.warning("The session could not be ended: %s", type(failure).__name__)
        finally:
            self.close()

    @property
    def _identifier(self) -> str:
        return self._place.identifier

    @property
    def _pool(self) -> SessionPool:
        return self._place.pool

    def _bound(self) -> Deadline:
        return self._deadline or Deadline.after(DEFAULT_CALL_SECONDS)

    def _begin(self) -> Deadline:
        deadline = self._bound()
        deadline.check()
        # Before anything is sent: what the deadline then cuts off has reached the session too.
        self._started = True
        return deadline

    def _execute(self, code: str, deadline: Deadline, operation_id: str | None = None) -> Execution:
        return self._pool.execute(
            self._identifier,
            code,
            timeout_seconds=self._timeout_seconds,
            deadline=deadline,
            operation_id=operation_id,
        )

    def _notice_loss(self, execution: Execution) -> None:
        if self._losses.is_lost_in(execution):
            self._losses.note()
            if self._provided:
                self._provide_again()

    def _provide_again(self) -> None:
        missing, again = set(self._provided), []
        try:
            # The code has run already and may have written files of these names itself.
            missing -= {file.path for file in self.list_files()}
            for name in sorted(missing):
                self._provided_files[name] = self.upload_file(name, self._provided[name])
                again.append(name)
        except (ServiceError, DeadlineReached) as error:
            # The code's own result counts for more than this.
            _log.warning("Provided files could not be put into the new session: %s", type(error).__name__)
        if again:
            self._losses.add(execution_text.files_provided_again(again))
        if lost := sorted(missing.difference(again)):
            self._losses.add(execution_text.files_not_provided(lost))

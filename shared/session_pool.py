"""REST client of an Azure Container Apps session pool.

By the documented contract; API versions 2024-10-02-preview and later. Requests carry a bearer token of the
app's identity, are bounded by a deadline, and are tried again only where that cannot run code twice.
"""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from shared import errors, session_wire, telemetry_chats
from shared.deadline import Deadline
from shared.identity import BearerTokens, is_safe_address
from shared.pool_transport import REPLY_BYTES_MAX, PoolTransport, Reply, refused_in_time
from shared.session_wire import Execution, SessionFile

# The service may have to start a session before it runs the code.
ALLOCATION_SECONDS = 20.0
ANSWER_SECONDS = 3.0
POLL_SECONDS = 1.0
REQUEST_SECONDS = 30.0
TRANSFER_SECONDS = 120.0
STREAM_LIMIT = 100_000
PAGES_MAX = 100


class SessionPool:
    """One pool; safe to share between threads.

    Args:
        endpoint: the pool's management endpoint; `http` only on this machine.
        tokens: bearer tokens for the pool.
        api_version: 2024-10-02-preview or later.
        sleep: waits between attempts and polls, in seconds.

    Raises:
        SettingError: the endpoint or the version is not of its form.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        tokens: BearerTokens,
        api_version: str = session_wire.DEFAULT_API_VERSION,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoint = checked_endpoint(endpoint)
        session_wire.check_api_version(api_version)
        self._api_version = api_version
        self._sleep = sleep
        self._transport = PoolTransport(tokens, sleep)

    def execute(
        self,
        identifier: str,
        code: str,
        *,
        timeout_seconds: float,
        deadline: Deadline,
        operation_id: str | None = None,
    ) -> Execution:
        """Runs code in a session and waits for its end.

        Args:
            identifier: of the session, which is created when it is new.
            code: Python, or a cell magic.
            timeout_seconds: for the code; cut to 220 and to the deadline.
            deadline: bounds the call.
            operation_id: by which `find_execution` finds it again; None for one that nobody knows.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolOutcomeUnknown: no answer came, or a failure's; the code may have run.
            PoolError: the pool failed or refused.
        """
        operation_id = operation_id or str(uuid.uuid4())
        with telemetry_chats.execution(identifier, operation_id, code) as span:
            execution = self._execute(identifier, code, timeout_seconds, deadline, operation_id)
            span.ended(
                succeeded=execution.succeeded,
                new_session=execution.new_allocation,
                output=execution.stdout + execution.stderr,
            )
            return execution

    def _execute(
        self, identifier: str, code: str, timeout_seconds: float, deadline: Deadline, operation_id: str
    ) -> Execution:
        limit = deadline.clamp(min(timeout_seconds, session_wire.EXECUTION_SECONDS_MAX))
        # The service's own word on a timeout has to arrive before the deadline.
        seconds = max(1, math.floor(min(limit, deadline.remaining() - ANSWER_SECONDS)))
        body = session_wire.execution_body(self._api_version, code, timeout_seconds=seconds, stream_limit=STREAM_LIMIT)
        reply = self._send(
            "POST",
            "/executions",
            identifier,
            deadline,
            limit + ALLOCATION_SECONDS,
            repeatable=False,
            json=body,
            headers={"operation-id": operation_id},
        )
        if reply.status_code >= 500 and not refused_in_time(reply):
            raise errors.PoolOutcomeUnknown(f"The session pool answered {reply.status_code}: the code may have run.")
        return self._outcome(reply, identifier, seconds, deadline)

    def find_execution(
        self, identifier: str, operation_id: str, *, timeout_seconds: int, deadline: Deadline
    ) -> Execution | None:
        """What became of an execution that was sent before; one that is still running is waited for.

        Args:
            identifier: of the session.
            operation_id: as `execute` had it.
            timeout_seconds: what the code was given.
            deadline: bounds the call.

        Returns:
            None where the session does not know it, or is gone itself.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolOutcomeUnknown: it was running, and then asking after it failed.
            PoolError: the pool failed or refused.
        """
        reply = self._send("GET", f"/executions/{quote(operation_id, safe='')}", identifier, deadline, REQUEST_SECONDS)
        # No document says how the service refuses an unknown one.
        if reply.status_code in (400, 404, 405, 410):
            return None
        return self._outcome(reply, identifier, timeout_seconds, deadline)

    def upload(self, identifier: str, name: str, content: bytes, *, deadline: Deadline) -> SessionFile:
        """Puts a file into the session's /mnt/data; one of that name is replaced.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolLimitExceeded: the file is larger than 128 MB.
            PoolError: the pool failed or refused.
        """
        reply = self._call("POST", "/files", identifier, deadline, TRANSFER_SECONDS, files={"file": (name, content)})
        return session_wire.decode_file(session_wire.json_object(reply.body))

    def list_files(self, identifier: str, *, deadline: Deadline) -> list[SessionFile]:
        """The files below the session's /mnt/data, in subdirectories too where the API version lists them.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolError: the pool failed or refused.
        """
        query = {"recursive": "true"} if session_wire.knows_recursive_listing(self._api_version) else {}
        reply = self._call("GET", "/files", identifier, deadline, REQUEST_SECONDS, query=query)
        files, link = session_wire.decode_file_list(reply.body)
        for _ in range(PAGES_MAX):
            if link is None:
                break
            reply = _successful(
                self._transport.send("GET", self._own_link(link), deadline=deadline, seconds=REQUEST_SECONDS)
            )
            page, link = session_wire.decode_file_list(reply.body)
            files += page
        return files

    def download(self, identifier: str, path: str, *, deadline: Deadline, limit_bytes: int = REPLY_BYTES_MAX) -> bytes:
        """A file's content.

        Args:
            identifier: of the session.
            path: below /mnt/data, as `list_files` gives it.
            deadline: bounds the call.
            limit_bytes: a longer file is not read to its end.

        Raises:
            DeadlineReached: the deadline has passed.
            SessionFileNotFound: there is no such file.
            PoolLimitExceeded: the file is longer than `limit_bytes`.
            PoolError: the pool failed or refused.
        """
        return self._file_call("GET", identifier, path, "/content", deadline, limit_bytes=limit_bytes).body

    def delete_file(self, identifier: str, path: str, *, deadline: Deadline) -> None:
        """Deletes a file; raises as `download` does."""
        self._file_call("DELETE", identifier, path, "", deadline)

    def session_exists(self, identifier: str, *, deadline: Deadline) -> bool:
        """Whether the pool has a session of that identifier now; asking creates none.

        Raises:
            DeadlineReached: the deadline has passed.
            PoolError: the pool failed or refused.
        """
        return self._session_call("GET", identifier, deadline)

    def delete_session(self, identifier: str, *, deadline: Deadline) -> bool:
        """Ends a session, says whether there was one, and raises as `session_exists` does."""
        return self._session_call("DELETE", identifier, deadline)

    def close(self) -> None:
        """Closes the connections; another call opens new ones."""
        self._transport.close()

    def _outcome(self, reply: Reply, identifier: str, timeout_seconds: int, deadline: Deadline) -> Execution:
        _successful(reply)
        return session_wire.decode_execution(
            self._ended(session_wire.json_object(reply.body), identifier, deadline),
            reply.headers,
            timeout_seconds=timeout_seconds,
            stream_limit=session_wire.stream_characters(self._api_version, STREAM_LIMIT),
        )

    def _ended(self, execution: dict[str, Any], identifier: str, deadline: Deadline) -> dict[str, Any]:
        """Asks until the execution has ended: 2024-10-02-preview may answer 202 before it has."""
        # The code has been started: no other pool could answer for this one.
        deadline = replace(deadline, retries=True)
        while (execution_id := session_wire.pending_execution(execution)) is not None:
            if deadline.remaining() <= POLL_SECONDS:
                raise errors.DeadlineReached
            self._sleep(POLL_SECONDS)
            where = f"/executions/{quote(execution_id, safe='')}"
            try:
                reply = self._call("GET", where, identifier, deadline, REQUEST_SECONDS)
                execution = session_wire.json_object(reply.body)
            except errors.PoolError:
                # Whatever went wrong with asking, the code has been started.
                raise errors.PoolOutcomeUnknown from None
        return execution

    def _session_call(self, method: str, identifier: str, deadline: Deadline) -> bool:
        if not session_wire.knows_sessions(self._api_version):
            # Such a version neither names nor ends sessions: one may be there, and it ends by its cooldown.
            return method == "GET"
        gone = {"NoSessionFoundError", "SessionWithIdentifierNotFound"}
        reply = self._send(method, "/session", identifier, deadline, REQUEST_SECONDS)
        code = session_wire.error_code(reply.headers, reply.body)
        # A 404 without a code may be the pool's own absence: the next call in the session tells.
        if code in gone or (reply.status_code == 404 and not code):
            return False
        if reply.status_code >= 300:
            raise session_wire.decode_error(reply.status_code, reply.headers, reply.body)
        return True

    def _file_call(
        self, method: str, identifier: str, path: str, suffix: str, deadline: Deadline, **options: Any
    ) -> Reply:
        directory, _, name = path.rpartition("/")
        query = {"path": directory} if directory else {}
        where = f"/files/{quote(name, safe='')}{suffix}"
        reply = self._send(method, where, identifier, deadline, TRANSFER_SECONDS, query=query, **options)
        if reply.status_code == 404:
            raise errors.SessionFileNotFound
        return _successful(reply)

    def _call(
        self,
        method: str,
        path: str,
        identifier: str,
        deadline: Deadline,
        seconds: float,
        **options: Any,
    ) -> Reply:
        return _successful(self._send(method, path, identifier, deadline, seconds, **options))

    def _send(
        self,
        method: str,
        path: str,
        identifier: str,
        deadline: Deadline,
        seconds: float,
        *,
        query: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Reply:
        params = {"api-version": self._api_version, "identifier": identifier, **(query or {})}
        url = self._endpoint + path
        return self._transport.send(method, url, deadline=deadline, seconds=seconds, params=params, **options)

    def _own_link(self, link: str) -> str:
        try:
            url = urljoin(self._endpoint + "/", link)
            own = urlsplit(url)[:2] == urlsplit(self._endpoint)[:2]
        except ValueError:
            own = False
        if not own:
            raise errors.PoolRefused("The session pool's list goes on at another host.")
        return url


def checked_endpoint(endpoint: str) -> str:
    """A management endpoint without what is not its own: blanks around it and slashes at its end.

    Raises:
        SettingError: it is not an https URL, or http on this machine.
    """
    if not is_safe_address(endpoint.strip()):
        raise errors.SettingError(
            "POOL_MANAGEMENT_ENDPOINT",
            "POOL_MANAGEMENT_ENDPOINT is missing, or names what is not an https URL (http is for this machine only).",
        )
    return re.sub(r"/+$", "", endpoint.strip())


def _successful(reply: Reply) -> Reply:
    if not 200 <= reply.status_code < 300:
        raise session_wire.decode_error(reply.status_code, reply.headers, reply.body)
    return reply

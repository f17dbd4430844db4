"""The HTTP contract of runs: a chat is accepted at once, then followed, cancelled and listed.

Handlers as in `api`, free of the host. They import what stores and checks runs when they are called: pydantic and the
storage libraries would double the time that the host needs to load the app.
"""

from __future__ import annotations

import asyncio
import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shared import telemetry
from shared.api import Reply, Request, answered, caller_of, json_reply, problem_reply
from shared.errors import InvalidRequest, RunNotFound
from shared.query_parameters import flag, number
from shared.run_links import RunLinks, base_url, run_address
from shared.run_reply import accepted_body, ended_body, progress_body, row_body
from shared.runs import FAILED, QUEUED, Callback, Run, is_run_id, owner_of
from shared.settings import Settings, current

if TYPE_CHECKING:
    from shared.run_request import RunRequest
    from shared.run_store import RunStore

# Logic Apps polls every 20 s without it; one poll costs one read of a small blob.
RETRY_AFTER_SECONDS = 5
WAIT_SECONDS_MAX = 20.0
# A list reads the whole record of each of its runs.
LIST_LIMIT, LIST_LIMIT_MAX = 20, 50
# How often a waiting request looks, and how many may wait in one process: beyond that they are answered at once.
LOOK_SECONDS = 0.5
WAITING_MAX = 200


def create(request: Request, store: RunStore | None = None) -> Reply:
    """Accepts a run: it is recorded and queued when the reply leaves.

    Args:
        request: `POST /api/runs`.
        store: of the runs; None for the process's own.
    """
    with telemetry.caller(request.headers):
        return answered(lambda: _Call.of(request, store).create())


async def get(request: Request, store: RunStore | None = None, *, clock: Callable[[], float] = time.monotonic) -> Reply:
    """How far a run is; with `?wait=` when there is news, or when the time is up.

    A waiting request holds no thread, so that it keeps none from chats: it waits on the event loop, and only its looks
    at the store, some milliseconds each, take one of the loop's few.

    Args:
        request: `GET /api/runs/{run_id}`.
        store: of the runs; None for the process's own.
        clock: seconds, monotonic.
    """
    watch = _Watch(request, store, clock)
    with _waiting:
        while True:
            reply = await asyncio.to_thread(answered, watch.look)
            if reply is not None:
                return reply
            await asyncio.sleep(LOOK_SECONDS)


def cancel(request: Request, store: RunStore | None = None) -> Reply:
    """Asks a run to stop at its next step; an ended one stays as it is.

    Args:
        request: `POST /api/runs/{run_id}/cancel`.
        store: of the runs; None for the process's own.
    """
    return answered(lambda: _Call.of(request, store).cancel())


def cancel_by_key(request: Request, store: RunStore | None = None) -> Reply:
    """Cancels the run that the request's idempotency key has made: the unsubscribe of an HTTP Webhook action.

    Logic Apps sends it without anything of the subscribe's reply, also after the run has ended, and is answered with
    200 in any case: it would poll a 202.

    Args:
        request: `POST /api/runs/cancel`.
        store: of the runs; None for the process's own.
    """
    return answered(lambda: _Call.of(request, store).cancel_by_key())


def recent(request: Request, store: RunStore | None = None) -> Reply:
    """The caller's runs, newest first.

    Args:
        request: `GET /api/runs`.
        store: of the runs; None for the process's own.
    """
    return answered(lambda: _Call.of(request, store).recent())


@dataclass(frozen=True)
class _Call:
    """One request, with what every handler needs."""

    request: Request
    settings: Settings
    store: RunStore
    links: RunLinks
    caller: str

    @classmethod
    def of(cls, request: Request, store: RunStore | None) -> _Call:
        from shared.run_store import process_store

        settings = current()
        store = store or process_store(settings)
        links = RunLinks(base_url(request.headers, settings), store.secret())
        return cls(request, settings, store, links, caller_of(request.headers, settings))

    def create(self) -> Reply:
        from shared.chat_request import parse_body
        from shared.run_request import RunRequest, request_key
        from shared.run_store import IdempotencyKey

        asked = parse_body(self.request.body, self.request.headers.get("content-type", ""), RunRequest)
        files = asked.decoded_files(self.settings)
        asked.check_limits(self.settings)
        if asked.callback_url is not None:
            from shared.callbacks import check_url

            check_url(asked.callback_url, self.settings)
        key = request_key(self.request.headers)
        run, is_new = self.store.create(
            self._new_run(asked, files),
            files,
            IdempotencyKey(key, asked.fingerprint()) if key else None,
        )
        if run.status == QUEUED:
            # Also for a repetition: the first post may have ended between record and queue, and a second message
            # does no harm, because the worker takes a lease.
            self.store.enqueue(run.run_id)
        if is_new:
            telemetry.run_is(run.status)
        body = accepted_body(run, self.links)
        # A Logic App would poll a Location although it waits for its callback.
        return json_reply(200, body, _FRESH) if asked.callback_url is not None else self._going_on(run, body)

    def _new_run(self, asked: RunRequest, files: Mapping[str, bytes]) -> Run:
        run_id = uuid.uuid4().hex
        now = time.time()
        longest = min(self.settings.run_deadline_seconds, self.settings.run_max_deadline_seconds)
        return Run(
            run_id=run_id,
            owner=owner_of(self.caller),
            caller=self.caller,
            created_at=now,
            expires_at=now + (asked.deadline_seconds or longest),
            message=asked.message,
            session_id=asked.session_id or uuid.uuid4().hex,
            session_is_new=asked.session_id is None,
            max_turns=asked.max_turns or self.settings.chat_max_turns,
            token_budget=asked.max_total_tokens or self.settings.run_max_tokens,
            files=tuple(files),
            callback=Callback(asked.callback_url) if asked.callback_url is not None else None,
            traceparent=telemetry.traceparent(),
        )

    def cancel(self) -> Reply:
        run = self.opened()
        return self.state(self._cancelled(run))

    def cancel_by_key(self) -> Reply:
        from shared.run_request import request_key

        key = request_key(self.request.headers)
        if key is None:
            raise InvalidRequest("idempotency_key_missing", "Send the Idempotency-Key that the run was posted with.")
        stored = self.store.made_by(owner_of(self.caller), key)
        if stored is None:
            raise RunNotFound
        return json_reply(200, accepted_body(self._cancelled(stored.run), self.links), _FRESH)

    def _cancelled(self, run: Run) -> Run:
        return run if run.is_ended else self.store.change(run.run_id, _with_cancel_requested)

    def opened(self) -> Run:
        """The run that the request names and may see.

        Raises:
            RunNotFound: there is none, or the request may not; the two are told alike.
        """
        run_id = self.request.route.get("run_id", "")
        token = self.request.query.get("token", "")
        fits = self.links.opens(token, run_id)
        # Without token and principal nothing is read: guesses cost no storage call, and all take the same time.
        if not is_run_id(run_id) or not (fits or self.caller):
            raise RunNotFound
        stored = self.store.load(run_id)
        if stored is None:
            raise RunNotFound
        if not (fits or hmac.compare_digest(owner_of(self.caller), stored.run.owner)):
            raise RunNotFound
        return stored.run

    def state(self, run: Run, after: int = 0, *, fail_status: bool = False) -> Reply:
        """The reply that tells how far the run is."""
        if not run.is_ended:
            return self._going_on(run, progress_body(run, self.links, after), fail_status=fail_status)
        return json_reply(200, ended_body(run, self.store.reply(run.run_id), self.links, after), _FRESH)

    def _going_on(self, run: Run, body: Mapping[str, Any], *, fail_status: bool = False) -> Reply:
        # Whoever follows the Location asks for the rest in the same way.
        url = self.links.status_url(run.run_id) + ("&fail_status=1" if fail_status else "")
        headers = {"Location": url, "Retry-After": str(RETRY_AFTER_SECONDS)}
        return json_reply(202, body, {**headers, **_FRESH})

    def recent(self) -> Reply:
        limit = int(number(self.request.query, "limit", LIST_LIMIT, 1, LIST_LIMIT_MAX, whole=True))
        runs, following = self.store.recent(owner_of(self.caller), limit, self.request.query.get("continuation"))
        rows = [row_body(run, run_address(self.links.base, run.run_id) if self.caller else None) for run in runs]
        return json_reply(200, {"runs": rows, "continuation": following}, _FRESH)


_FRESH = {"Cache-Control": "no-store"}


class _Watch:
    """A request that may wait for news of a run."""

    def __init__(self, request: Request, store: RunStore | None, clock: Callable[[], float]) -> None:
        self._request = request
        self._store = store
        self._clock = clock
        self._until: float | None = None
        self._known: tuple[int, str] | None = None

    def look(self) -> Reply | None:
        """The reply, or None while there is no news and time to wait for it."""
        query = self._request.query
        after = int(number(query, "after", 0, 0, 1_000_000, whole=True))
        wait = number(query, "wait", 0.0, 0.0, WAIT_SECONDS_MAX)
        fail_status = flag(query, "fail_status")
        call = _Call.of(self._request, self._store)
        run = call.opened()
        if self._until is None:
            self._until = self._clock() + (wait if _waiting.room else 0.0)
        if run.status == FAILED and run.problem is not None and fail_status:
            reply = problem_reply(run.problem)
            return replace(reply, headers={**reply.headers, **_FRESH})
        if run.is_ended or self._is_news(run, after) or self._clock() >= self._until:
            return call.state(run, after, fail_status=fail_status)
        return None

    def _is_news(self, run: Run, after: int) -> bool:
        """Whether the caller cannot know this yet: what it has seen ends with `after`, else with the first look."""
        seen = (len(run.steps), run.status)
        if self._known is None:
            self._known = (after if "after" in self._request.query else seen[0], seen[1])
        return seen[0] > self._known[0] or seen[1] != self._known[1]


class _Waiting:
    """How many requests are being answered by `get`: on the event loop alone, so without a lock."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def room(self) -> bool:
        return self._count <= WAITING_MAX

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *error: object) -> None:
        self._count -= 1


_waiting = _Waiting()


def _with_cancel_requested(run: Run) -> Run:
    return run if run.is_ended else replace(run, cancel_requested=True)

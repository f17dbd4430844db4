"""Starts runs and follows them, as a caller who does not give up."""

from __future__ import annotations

import threading
import time
from typing import Any

import requests

from bench.counted_model import task_message


class Caller:
    """Posts runs and follows them, through a host that may be down at any time."""

    def __init__(self, url: str, until: float) -> None:
        self._url = url
        self._until = until
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Closes its connections."""
        for session in self._sessions:
            session.close()

    def post(self, task: str, session: str) -> str:
        """Starts a run, again until it is accepted, as Logic Apps would; gives its status_url."""
        body = {"message": task_message(task), "session_id": session, "deadline_seconds": 3000}
        reply = self._patiently("POST", f"{self._url}/api/runs", json=body, headers={"Idempotency-Key": task})
        return str(reply["status_url"])

    def ended(self, status_url: str) -> dict[str, Any]:
        """The reply of a run that has ended."""
        reply: dict[str, Any] = {"status": "unknown", "steps": []}
        while time.monotonic() < self._until:
            reply = self._patiently("GET", status_url, params={"wait": "20"})
            if reply["status"] not in ("queued", "running"):
                return reply
        raise TimeoutError(f"a run is still {reply['status']} with {len(reply['steps'])} steps")

    def recorded(self) -> int:
        """How many runs there are."""
        count, query = 0, {"limit": "50"}
        while True:
            page = self._patiently("GET", f"{self._url}/api/runs", params=query)
            count += len(page["runs"])
            if not page["continuation"]:
                return count
            query["continuation"] = page["continuation"]

    def _patiently(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
            self._sessions.append(session)
        trouble = ""
        while time.monotonic() < self._until:
            try:
                reply = session.request(method, url, timeout=40, **more)
            except requests.RequestException as error:
                trouble = type(error).__name__
                time.sleep(0.2)
                continue
            if reply.status_code in (200, 202):
                answer: dict[str, Any] = reply.json()
                return answer
            if reply.status_code < 500:
                raise RuntimeError(f"{method}: {reply.status_code} {reply.text[:300]}")
            trouble = f"{reply.status_code} {reply.json().get('code')}" if reply.content else str(reply.status_code)
            time.sleep(0.2)
        raise TimeoutError(f"{method} was not answered in time: {trouble}")

"""What becomes of a session, in words for the model that works in it."""

from __future__ import annotations

from shared import execution_text, telemetry
from shared.session_wire import Execution


class SessionLosses:
    """Notices that a session was lost, and keeps a note of each loss until it is taken.

    Args:
        meaning: what a loss would mean to whoever goes on in the session; empty where it would mean nothing.
    """

    def __init__(self, meaning: str = "") -> None:
        self._meaning = meaning
        self._guid = ""
        self._notes: list[str] = []

    @property
    def untold(self) -> bool:
        """Whether there are notes that nobody has taken."""
        return bool(self._notes)

    def code_has_run(self) -> None:
        """From now on a loss takes away what code has made."""
        self._meaning = execution_text.SESSION_LOST

    def is_lost_in(self, execution: Execution) -> bool:
        """Whether an execution's session is another one than before it; learns which one it is."""
        known, self._guid = self._guid, execution.session_guid or self._guid
        return execution.new_allocation or known not in ("", self._guid)

    def note(self, meaning: str | None = None) -> None:
        """Keeps a note of a loss, once.

        Args:
            meaning: of a loss that another process has found; None for what was said of it before.
        """
        words = self._meaning if meaning is None else meaning
        self._meaning = ""
        # Whoever has found another one has told it.
        if words and meaning is None:
            telemetry.session_lost()
        self.add(words)

    def add(self, text: str) -> None:
        """Keeps a text, unless it is empty."""
        if text:
            self._notes.append(text)

    def take(self) -> list[str]:
        """The notes since the last call."""
        notes, self._notes = self._notes, []
        return notes

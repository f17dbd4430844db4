"""A run's record while one delivery works on the run: saved step by step, unless the run has become another's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.chat_log import Observer
from shared.chat_recovery import Earlier
from shared.errors import ChatAbandoned, RunChanged
from shared.runs import RUNNING, Run
from shared.session_wire import SessionFile
from shared.steps import Step, Usage

if TYPE_CHECKING:
    from shared.run_lease import Lease
    from shared.run_store import RunStore, Stored

# Somebody else writes a record once, to cancel the run.
SAVES = 5
# In a record's `pending`, beside what the chat says: the model is yet to be told that its session is new.
SESSION_GONE = "session_gone"


class HeldRun:
    """A run under a lease.

    Args:
        stored: as it was read last.
        store: of the runs.
        lease: that this delivery has.

    Attributes:
        attempt: the number of this delivery among those that have begun the run.
    """

    def __init__(self, stored: Stored, store: RunStore, lease: Lease) -> None:
        self.attempt = stored.run.attempts
        self._stored = stored
        self._store = store
        self._lease = lease
        self._run_id = stored.run.run_id

    @property
    def run(self) -> Run:
        """The record as it was last read or saved."""
        return self._stored.run

    def begin(self) -> None:
        """Counts this delivery; raises as `save` does.

        By the number, whoever still works on an earlier attempt learns that the run is not its own any more.
        """
        number = self.run.attempts + 1
        self.save(lambda run: replace(run, status=RUNNING, attempts=number, problem=None))
        self.attempt = number

    def save(self, change: Callable[[Run], Run]) -> None:
        """Saves a change of the record.

        Args:
            change: gives the run as it is to be; called again with a newer one if that was changed meanwhile.

        Raises:
            ChatAbandoned: the run is no longer this delivery's.
            RunChanged: the record was changed again and again.
            StorageError: the storage did not do its part.
        """
        for left in reversed(range(SAVES)):
            self.check_hold()
            try:
                self._stored = self._store.save(self._stored, change(self.run))
            except RunChanged:
                self.reload()
                if not left:
                    raise
            else:
                return

    def reload(self) -> None:
        """Reads the record again.

        Raises:
            ChatAbandoned: another delivery has begun or ended the run, or it was deleted.
            StorageError: the storage did not do its part.
        """
        stored = self._store.load(self._run_id)
        if stored is None or stored.run.attempts != self.attempt:
            raise ChatAbandoned
        if stored.run.is_ended and not self.run.is_ended:
            raise ChatAbandoned
        self._stored = stored

    def check_hold(self) -> None:
        """Does nothing while the lease is held.

        Raises:
            ChatAbandoned: it is lost.
        """
        if self._lease.lost.is_set():
            raise ChatAbandoned


class Recorder(Observer):
    """Saves what happens in a run's chat as it happens.

    Args:
        held: the run.
    """

    def __init__(self, held: HeldRun) -> None:
        self._held = held
        self._known_files: Mapping[str, SessionFile] = held.run.known_files

    def found_session_gone(self) -> None:
        """Saves it: the chat's own first call would hide it from another attempt."""
        self._held.save(lambda run: replace(run, pending=SESSION_GONE))

    def begun(self, known_files: Mapping[str, SessionFile]) -> None:
        """Keeps the files until there is a step to save: before that the chat would begin anew."""
        self._known_files = known_files

    def said(self, step: Step, usage: Usage, pending: str) -> None:
        """Saves a step."""
        self._held.save(lambda run: self._with_step(run, step, usage, pending))

    def is_cancelled(self) -> bool:
        """As the last save found it: a request to cancel changes the record, so that the next save finds it."""
        return self._held.run.cancel_requested

    def _with_step(self, run: Run, step: Step, usage: Usage, pending: str) -> Run:
        # With the first report of code the model was told.
        untold = _session_was_gone(run) and step.exit_code is None
        words = [SESSION_GONE] * untold + [pending] * bool(pending)
        # By its number: it may be there already, where only the answer to its save was lost.
        steps = (*run.steps[: step.index - 1], step)
        return replace(run, steps=steps, usage=usage, pending=" ".join(words), known_files=self._known_files)


def earlier_of(run: Run) -> Earlier:
    """What earlier deliveries have left of a run's chat."""
    return Earlier(run.steps, run.usage, run.known_files, _session_was_gone(run))


def _session_was_gone(run: Run) -> bool:
    return SESSION_GONE in run.pending.split()

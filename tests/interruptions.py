"""A process that dies, or a storage that fails, at any call to the outside: before the call, or after it was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from shared.model import ChatHttpClient
from shared.pool_transport import PoolTransport
from shared.storage import Storage

_T = TypeVar("_T")


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Life:
    """Counts calls, and ends at one of them, whose name is then `last`.

    Args:
        ends_at: the number of the call at which it ends, from 1; 0 for none.
        of: counts only calls of that name for `ends_at`; all where it is empty.
        after: the call is done all the same, and only its answer is lost.
        error: raised at that call; after a `Killed` no call is made any more, and after others they are.
    """

    def __init__(
        self, ends_at: int = 0, *, of: str = "", after: bool = False, error: type[BaseException] = Killed
    ) -> None:
        self.calls: list[str] = []
        self.last = ""
        self._ends_at = ends_at
        self._of = of
        self._after = after
        self._error = error
        self._dead = False

    def live(self, name: str, call: Callable[[], _T]) -> _T:
        """Makes a call, or not."""
        if self._dead:
            raise Killed
        self.calls.append(name)
        fits = [call_name for call_name in self.calls if self._of in ("", call_name)]
        ends = self._of in ("", name) and len(fits) == self._ends_at
        if ends and not self._after:
            self._die(name)
        result = call()
        if ends:
            self._die(name)
        return result

    def _die(self, name: str) -> None:
        self.last = name
        self._dead = self._error is Killed
        raise self._error


class MortalStorage:
    """A storage whose calls a life counts."""

    def __init__(self, storage: Storage, life: Life) -> None:
        self._storage = storage
        self._life = life

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._storage, name)
        # Renewals come by the clock.
        return call if name == "renew" else lambda *a, **k: self._life.live(name, lambda: call(*a, **k))


@contextmanager
def mortal(life: Life) -> Iterator[None]:
    """Lets a life count this process's calls of the model and of the pool."""
    ask, send = ChatHttpClient.send, PoolTransport.send
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChatHttpClient, "send", lambda *a, **k: life.live("model", lambda: ask(*a, **k)))
        patch.setattr(PoolTransport, "send", lambda *a, **k: life.live(f"pool {a[1]}", lambda: send(*a, **k)))
        yield

"""Idempotency keys: which run a key stands for, once and for all who post with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shared import run_names as names
from shared.errors import InvalidRequest, RunChanged
from shared.runs import Run

if TYPE_CHECKING:
    from shared.storage import Storage

_SHARED = ("run_id", "created_at")


@dataclass(frozen=True)
class IdempotencyKey:
    """By what a repetition of a post is known.

    Attributes:
        value: as the caller gave it; keys of two owners never meet.
        body_hash: a digest of what was asked; the same key with another one is refused.
    """

    value: str
    body_hash: str


def claimed(storage: Storage, run: Run, key: IdempotencyKey) -> tuple[Run, bool]:
    """A new run as its key has it, and whether the key is new.

    Args:
        storage: where keys are kept.
        run: as this post would make it.
        key: of this post.

    Returns:
        The run: where the key is not new, with the id and the time of the post that brought it first, so that all
        who make this run make the same blobs. Its deadline is that of this post.

    Raises:
        InvalidRequest: the key was used for something else, with status 422.
        RunChanged: the key was deleted just now.
    """
    name = names.claim(run.owner, key.value)
    row: dict[str, Any] = {field: getattr(run, field) for field in _SHARED}
    if storage.create(name, json.dumps({**row, "body_hash": key.body_hash}).encode("ascii")) is not None:
        return run, True
    blob = storage.read(name, names.CLAIM_BYTES_MAX)
    if blob is None:
        raise RunChanged("The idempotency key was forgotten just now.")
    first: dict[str, Any] = json.loads(blob.data)
    if first["body_hash"] != key.body_hash:
        raise InvalidRequest(
            "idempotency_key_reused",
            "The idempotency key was used for another request. Send a new key with a new request.",
            status=422,
        )
    return replace(run, **{field: first[field] for field in _SHARED}), False


def run_id_of(storage: Storage, claim: str) -> str:
    """The run that a key stands for; empty where there is no such key.

    Args:
        storage: where keys are kept.
        claim: name of the key's blob.
    """
    blob = storage.read(claim, names.CLAIM_BYTES_MAX)
    return str(json.loads(blob.data)["run_id"]) if blob is not None else ""

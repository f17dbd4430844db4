"""What a kernel sends for one execution, collected within limits."""

from __future__ import annotations

from typing import Any

from local.session_pool.outcome import PICTURE_LENGTH_MAX, RESULT_LENGTH_MAX, TOO_LARGE, result_of, without_colours

_OUTPUT_LOST = "Output that was too large has been left out.\n"
_RESULT_TYPE = "application/x-session-result"

NO_RESULT: Any = object()


class Output:
    """Collects what a kernel sends for one request; what is over the limit is read and dropped.

    Args:
        limit: most characters kept of each stream.

    Attributes:
        stdout, stderr: the streams.
        result: the value as JSON, a picture, or NO_RESULT.
        text: the value as text.
        failed: whether the kernel has told an error.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.stdout = ""
        self.stderr = ""
        self.result: Any = NO_RESULT
        self.text = ""
        self.failed = False

    def take(self, message: dict[str, Any]) -> bool:
        """Takes a message; true when it says that the kernel is idle again."""
        kind, content = message["msg_type"], message["content"]
        if content is None:
            self._too_large(kind)
        elif kind == "stream":
            self._stream(content["name"], content["text"])
        elif kind in ("execute_result", "display_data"):
            self._data(kind, content["data"])
        elif kind == "error":
            self.failed = True
            self._stream("stderr", without_colours("\n".join(content["traceback"])[: RESULT_LENGTH_MAX + self.limit]))
        return bool(kind == "status" and content and content["execution_state"] == "idle")

    def lose(self) -> None:
        """Says that output is missing."""
        self._stream("stderr", _OUTPUT_LOST)

    def _too_large(self, kind: str) -> None:
        if kind in ("execute_result", "display_data"):
            self.result = self.text = TOO_LARGE
            return
        self.failed |= kind == "error"
        self.lose()

    def _stream(self, name: str, text: str) -> None:
        if name == "stdout":
            self.stdout += text[: self.limit - len(self.stdout)]
        else:
            self.stderr += text[: self.limit - len(self.stderr)]

    def _data(self, kind: str, data: dict[str, Any]) -> None:
        picture = data.get("image/png")
        if isinstance(picture, str):
            if len(picture) > PICTURE_LENGTH_MAX:
                self.result = self.text = TOO_LARGE
            else:
                self.result = {"type": "image", "format": "png", "base64_data": picture.replace("\n", "")}
        elif kind == "execute_result":
            self.text = str(data.get("text/plain", ""))[:RESULT_LENGTH_MAX]
            # No JSON form is one that cannot be read.
            self.result = result_of(data.get(_RESULT_TYPE, ""), self.text)

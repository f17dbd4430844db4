"""What a caller may ask for in a chat, and which fault of a request has which code."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.errors import InvalidRequest
from shared.file_names import check_file_name
from shared.settings import Settings

SESSION_ID_PATTERN = r"^[A-Za-z0-9._-]{1,128}\Z"
# What the app's own number of turns may be, a caller's may be too.
MAX_TURNS: int = Settings.__dataclass_fields__["chat_max_turns"].metadata["bounds"][1]
# Function keys come as a query parameter too.
_HOST_PARAMETERS = frozenset({"code", "clientid"})


BASE64_PATTERN = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def _whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is as whole as 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = Annotated[int, BeforeValidator(_whole)]


class InputFile(BaseModel):
    """A file that comes with a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(description="Name without a path.", json_schema_extra={"minLength": 1, "maxLength": 255})
    content: str = Field(
        description="The bytes in base64 (RFC 4648).",
        json_schema_extra={"contentEncoding": "base64", "pattern": BASE64_PATTERN},
    )


class ChatRequest(BaseModel):
    """The body of `POST /api/chat`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # The bounds are for the API documents: `check_limits` refuses with codes and words of its own.
    message: str = Field(description="The task in plain words.", json_schema_extra={"pattern": r"\S"})
    session_id: str | None = Field(
        default=None,
        description="Go on in the session of an earlier reply.",
        json_schema_extra={"pattern": SESSION_ID_PATTERN.replace(r"\Z", "$")},
    )
    max_turns: WholeNumber | None = Field(
        default=None,
        description=f"Most turns, 1 to {MAX_TURNS}.",
        json_schema_extra={"minimum": 1, "maximum": MAX_TURNS},
    )
    deadline_seconds: float | None = Field(
        default=None, description="Time for the answer, in seconds.", json_schema_extra={"minimum": 1}
    )
    files: list[InputFile] = Field(default_factory=list, description="Files for the session, in /mnt/data.")

    def check_limits(self, settings: Settings) -> None:
        """Refuses values out of range.

        Raises:
            InvalidRequest: with the field's code.
        """
        if not self.message.strip():
            raise InvalidRequest("message_empty", "The message is empty.", field="message")
        longest = settings.chat_max_message_characters
        if len(self.message) > longest:
            raise InvalidRequest(
                "message_too_long", f"The message is longer than {longest} characters.", field="message"
            )
        if self.session_id is not None and not re.match(SESSION_ID_PATTERN, self.session_id):
            raise InvalidRequest(
                "session_id_invalid",
                "A session_id is 1 to 128 letters, digits, dots, hyphens or underscores.",
                field="session_id",
            )
        if self.max_turns is not None and not 1 <= self.max_turns <= MAX_TURNS:
            raise InvalidRequest("max_turns_out_of_range", f"max_turns may be 1 to {MAX_TURNS}.", field="max_turns")
        most = self.longest_deadline(settings)
        if self.deadline_seconds is not None and not 1 <= self.deadline_seconds <= most:
            raise InvalidRequest(
                "deadline_out_of_range", f"deadline_seconds may be 1 to {most}.", field="deadline_seconds"
            )

    @classmethod
    def longest_deadline(cls, settings: Settings) -> int:
        """The most seconds that a caller may ask for."""
        return settings.chat_deadline_seconds

    def decoded_files(self, settings: Settings) -> dict[str, bytes]:
        """The files' names and contents.

        Raises:
            InvalidRequest: a name, a content, the number or the size is not allowed.
        """
        if len(self.files) > settings.chat_max_files:
            raise InvalidRequest(
                "too_many_files", f"A request may bring {settings.chat_max_files} files at most.", field="files"
            )
        decoded: dict[str, bytes] = {}
        for index, file in enumerate(self.files):
            where = f"files[{index}]"
            _check_name(file.name, decoded, where)
            decoded[file.name] = _decode(file.content, where)
        if sum(map(len, decoded.values())) > settings.chat_max_file_bytes:
            raise InvalidRequest(
                "files_too_large",
                f"The files have more than {settings.chat_max_file_bytes} bytes together.",
                status=413,
                field="files",
            )
        return decoded


_Body = TypeVar("_Body", bound=ChatRequest)


def parse_body(body: bytes, content_type: str, kind: type[_Body]) -> _Body:
    """Reads a JSON body.

    Args:
        body: as it came.
        content_type: of the request.
        kind: the body's model.

    Raises:
        InvalidRequest: it is not JSON of the contract's shape.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise InvalidRequest("content_type_unsupported", "The Content-Type has to be application/json.", status=415)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _fault(error) from None


def parse_query(query: Mapping[str, str]) -> ChatRequest:
    """Reads the tutorial's form: `?message=`, with `session_id`, `max_turns` and `deadline_seconds` if wanted.

    Raises:
        InvalidRequest: a parameter is unknown or malformed.
    """
    values = {name: value for name, value in query.items() if name.lower() not in _HOST_PARAMETERS}
    if "files" in values:
        raise InvalidRequest("unknown_field", "Files come with POST only.", field="files")
    try:
        return ChatRequest.model_validate(values, strict=False)
    except ValidationError as error:
        raise _fault(error) from None


def _fault(error: ValidationError) -> InvalidRequest:
    first: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = _dotted(first["loc"])
    if first["type"] == "json_invalid":
        return InvalidRequest("malformed_json", "The body is not valid JSON.")
    if not where:
        return InvalidRequest("malformed_json", "The body is not a JSON object.")
    if first["type"] == "extra_forbidden":
        return InvalidRequest("unknown_field", "The request has a field that is not in the contract.", field=where)
    if first["type"] == "missing":
        return InvalidRequest(f"{where.rpartition('.')[2]}_missing", f"{where} is missing.", field=where)
    return InvalidRequest("field_type_invalid", f"{where}: {first['msg']}.", field=where)


def _dotted(location: tuple[str | int, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    # An unknown field's name is the caller's own text: it is shown back, but not at any length.
    return text.lstrip(".")[:100]


def _check_name(name: str, taken: Mapping[str, bytes], where: str) -> None:
    try:
        check_file_name(name)
    except ValueError as rule:
        raise InvalidRequest("file_name_invalid", f"{where}.name: {rule}", field=f"{where}.name") from None
    if name in taken:
        raise InvalidRequest("file_name_taken", f"{where}.name is used twice.", field=f"{where}.name")


def _decode(content: str, where: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            "file_content_invalid", f"{where}.content is not base64.", field=f"{where}.content"
        ) from None

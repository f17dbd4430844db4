"""Pictures on their way to a chat's caller, and how much room a reply has for them."""

from __future__ import annotations

from dataclasses import dataclass

from shared.session_wire import Picture


@dataclass(frozen=True)
class ShownPicture:
    """A picture and the name under which people find it; `picture` is None where the reply had no room for it."""

    name: str
    picture: Picture | None


class PictureRoom:
    """The number and the bytes of pictures that a reply still takes.

    What does not fit is dropped when it comes, so that no chat holds more than its reply may have.

    Args:
        pictures: at most so many.
        size_bytes: at most so many bytes together.
    """

    def __init__(self, pictures: int, size_bytes: int) -> None:
        self._pictures = pictures
        self._bytes = size_bytes

    @property
    def bytes_left(self) -> int:
        """Bytes that are left."""
        return self._bytes

    def takes(self, size_bytes: int) -> bool:
        """Whether a picture of that size still fits."""
        return self._pictures > 0 and size_bytes <= self._bytes

    def show(self, name: str, picture: Picture) -> ShownPicture:
        """The picture under its name, without its bytes if there is no room for them."""
        size = len(picture.data)
        if not self.takes(size):
            return ShownPicture(name, None)
        self._pictures -= 1
        self._bytes -= size
        return ShownPicture(name, picture)

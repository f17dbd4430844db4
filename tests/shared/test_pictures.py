"""How much room a reply has for pictures."""

from __future__ import annotations

from shared.pictures import PictureRoom
from shared.session_wire import Picture


def picture(size: int) -> Picture:
    return Picture("image/png", b"x" * size)


def test_what_fits_is_kept_and_what_does_not_is_a_name() -> None:
    room = PictureRoom(5, 10)
    shown = [room.show(f"{size}.png", picture(size)) for size in (6, 5, 4, 1)]
    assert [(one.name, one.picture is not None) for one in shown] == [
        ("6.png", True),
        ("5.png", False),
        ("4.png", True),
        ("1.png", False),
    ]
    assert room.bytes_left == 0


def test_the_number_of_pictures_is_bounded_too() -> None:
    room = PictureRoom(2, 1000)
    assert [room.show("a", picture(1)).picture is not None for _ in range(3)] == [True, True, False]
    assert not room.takes(0)

"""Pillow's pictures as plain data and back: the same pixels, without the file's other facts."""

from __future__ import annotations

import sys
from typing import Any

_BYTES = {
    "1": 0, "L": 1, "P": 1, "RGB": 3, "RGBA": 4, "RGBX": 4, "RGBa": 4, "CMYK": 4, "YCbCr": 3,
    "LAB": 3, "HSV": 3, "I": 4, "F": 4, "LA": 2, "PA": 2, "La": 2, "I;16": 2,
}  # fmt: skip
"""Bytes of a pixel by mode; in mode 1 a byte has eight pixels of a line."""


def is_picture(value: Any) -> bool:
    """Whether a value is a picture of Pillow's that ``picture_data`` can store."""
    module = sys.modules.get("PIL.Image")  # before it is imported no value can be one
    if module is None or not isinstance(value, module.Image):
        return False
    return value.mode in _BYTES and min(value.size) > 0


def picture_data(picture: Any) -> list[Any]:
    """Returns mode, width, height, pixels, palette and transparent colour."""
    width, height = picture.size
    palette = None
    if picture.mode in ("P", "PA"):
        mode = picture.palette.mode if picture.palette is not None else "RGB"
        palette = [mode, bytes(picture.getpalette(mode) or [])]
    clear = picture.info.get("transparency")
    kept = clear if isinstance(clear, (int, bytes)) else None
    return [picture.mode, width, height, picture.tobytes(), palette, kept]


def picture_of(data: Any) -> Any:
    """Makes the picture that ``picture_data`` turned into ``data``; raises if there is none."""
    from PIL import Image  # here, because only a state with pictures needs it

    mode, width, height, pixels, palette, clear = data
    if not all(type(side) is int and 0 < side < 2**31 for side in (width, height)):
        raise ValueError(f"a picture of {width} x {height}")
    line = (width + 7) // 8 if mode == "1" else width * _BYTES[mode]
    if line * height != len(pixels):
        raise ValueError(f"a picture of {width} x {height} with {len(pixels)} bytes")
    picture = Image.frombytes(mode, (width, height), pixels)
    if palette is not None:
        picture.putpalette(palette[1], palette[0])
    if clear is not None:
        picture.info["transparency"] = clear
    return picture

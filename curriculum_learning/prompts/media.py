"""Pictures and other media: put into chat messages, and loaded when their row is served."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curriculum_learning.prompts.rows import Record

_PATCH_SIZE = 14
"""Pixels; where the processor says nothing."""
_PATIENCE = 30
"""Seconds that a server may take to answer."""

_SHOWN = 240
"""Characters of a path that a message shows; longer ones are base64."""


class MediaError(ValueError):
    """A picture, or the column of media, cannot be used."""


class Media:
    """Puts the media of a row into its messages, and loads the pictures in messages.

    A placeholder in the text, ``<image>``, ``<video>`` or ``<audio>``, stands for the next entry of
    the column of that kind. An entry is a path, a URL, base64, bytes, a picture, a mapping with
    ``bytes`` and ``path`` as data sets have it, or a content item of a message, ``{"type": ...}``.

    Args:
        keys: The column of each kind of media.
        processor: The processor of the model, for the size of its patches; or None.
    """

    def __init__(self, keys: Mapping[str, str], processor: Any) -> None:
        self._keys = dict(keys)
        self._processor = processor

    def messages(self, record: Record, prompt: Any) -> list[dict[str, Any]]:
        """Returns the messages of a prompt with the media of its row; the row does not change.

        Raises:
            MediaError: There are more placeholders than entries, or fewer.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        left = {
            f"<{kind}>": (kind, _entries(kind, record[column]))
            for kind, column in self._keys.items()
            if record.get(column) is not None
        }
        made = [
            {**message, "content": list(_items(message["content"], left))}
            if isinstance(message.get("content"), str)
            else message
            for message in messages
        ]
        for placeholder, (kind, entries) in left.items():
            if entries:
                raise MediaError(
                    f"column '{self._keys[kind]}' has {len(entries)} more than the prompt has "
                    f"{placeholder}; add placeholders, or take the entries out"
                )
        return made

    def inputs(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Loads the pictures and videos in messages.

        Returns:
            ``images`` and ``videos``, each a list, or None if there are none. With
            ``qwen_vl_utils`` pictures are resized as the models of that family want it, and videos
            are read; without it, pictures are as they are, and videos are left in the messages.

        Raises:
            MediaError: A picture is missing or damaged.
        """
        try:
            from qwen_vl_utils import process_vision_info
        except ImportError:
            return {"images": self._pictures(messages) or None, "videos": None}
        size = getattr(getattr(self._processor, "image_processor", None), "patch_size", _PATCH_SIZE)
        try:
            images, videos = process_vision_info(messages, image_patch_size=size)
        except Exception:  # it knows fewer forms of pictures
            return {"images": self._pictures(messages) or None, "videos": None}
        return {"images": images, "videos": videos}

    def _pictures(self, messages: Sequence[Mapping[str, Any]]) -> list[Any]:
        pictures = []
        for value in _pictures_in(messages):
            picture = _opened(value)
            try:
                picture.load()
            except Exception as error:
                raise MediaError(
                    f"the picture {_shown(value)} is damaged: {error}; mend it or its row"
                ) from None
            pictures.append(picture)
        return pictures

    def look(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Reads the heads of the pictures in messages, those on other machines left out.

        Raises:
            MediaError: A picture is missing, or is none.
        """
        for value in _pictures_in(messages):
            if not _is_url(value):
                _opened(value).close()


def _entries(kind: str, column: Any) -> list[dict[str, Any]]:
    """Returns the content items for the entries of a column."""
    many = column if isinstance(column, (list, tuple)) else [column]
    return [_item(kind, entry) for entry in many]


def _item(kind: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, dict) and entry.keys() == {"bytes", "path"}:
        entry = entry["path"] if entry["bytes"] is None else entry["bytes"]
    if isinstance(entry, dict):
        return entry
    if isinstance(entry, bytes):
        entry = f"data:{kind};base64,{base64.b64encode(entry).decode()}"
    return {"type": kind, kind: entry}


def _items(
    text: str, left: Mapping[str, tuple[str, list[dict[str, Any]]]]
) -> Iterator[dict[str, Any]]:
    """Yields the content items of a text; takes entries from ``left`` for its placeholders."""
    pattern = f"({'|'.join(map(re.escape, left))})"
    for segment in re.split(pattern, text) if left else [text]:
        if segment in left:
            kind, entries = left[segment]
            if not entries:
                raise MediaError(
                    f"there are more {segment} in the prompt than entries of {kind} in the row; "
                    f"add entries, or take placeholders out"
                )
            yield entries.pop(0)
        elif segment:
            yield {"type": "text", "text": segment}


def _pictures_in(messages: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for message in messages:
        content = message.get("content")
        for item in content if isinstance(content, list) else ():
            if isinstance(item, dict) and item.get("type") == "image":
                value = item.get("image", item.get("image_url"))
                if value is not None:
                    yield value


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _opened(value: Any) -> Any:
    """Opens a picture, whose head is read."""
    try:
        from PIL import Image
    except ImportError:
        raise MediaError(
            "pictures need Pillow; pip install 'curriculum_learning[pictures]'"
        ) from None
    if isinstance(value, Image.Image):
        return value.copy()
    try:
        return Image.open(_file(value))
    except Exception as error:
        raise MediaError(
            f"the picture {_shown(value)} cannot be read: {error}; mend it or its row"
        ) from None


def _file(value: Any) -> Any:
    """Returns the path of a picture, or a file with its bytes."""
    if isinstance(value, bytes):
        return io.BytesIO(value)
    if not isinstance(value, str):
        raise TypeError(f"it is a {type(value).__name__}, not a path, a URL, base64 or bytes")
    if _is_url(value):
        with urllib.request.urlopen(value, timeout=_PATIENCE) as answer:
            return io.BytesIO(answer.read())
    if value.startswith("data:"):
        return io.BytesIO(base64.b64decode(value.partition(",")[2]))
    path = value.removeprefix("file://")
    if not os.path.exists(path):
        try:
            return io.BytesIO(base64.b64decode(value, validate=True))
        except binascii.Error:
            pass
    return path


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    return repr(value) if len(value) <= _SHOWN else f"{value[: _SHOWN // 4]!r}..."

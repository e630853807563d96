"""Text for terminals: control characters are shown, so that no terminal obeys them."""

from __future__ import annotations

import logging


def visible(text: str, but: str = "") -> str:
    """Returns the text with what a terminal might obey as Python would write it.

    Args:
        text: The text.
        but: Control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in but else repr(char)[1:-1] for char in text)


class LogLines(logging.Formatter):
    """Shows the control characters of log messages."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the message, and the traceback if there is one."""
        return "\n  ".join(map(visible, super().format(record).split("\n")))

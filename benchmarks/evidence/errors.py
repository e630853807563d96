"""What a person who runs the experiment can do wrong."""

from __future__ import annotations


class UsageError(Exception):
    """Something on the command line or in a file does not fit; the message says what to do."""

"""Mixing: whose turn it is, which row is next, and which step it is."""

"""Curricula: which rows of a source, and how much of each source, one file each."""

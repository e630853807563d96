"""Prompts: rows of files, by index, as prompts."""

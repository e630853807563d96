"""Engines: what each of them needs to be told and asked."""

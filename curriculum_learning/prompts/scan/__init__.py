"""Passes over all rows at the start: the check that each can be served, and their numbers.

A pass reads whole columns or blocks of lines where it can, and makes a prompt only where it must.
It draws nothing, and leaves what it worked out to the cache.
"""

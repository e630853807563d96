"""Weights: schedules, the expression language, and functions by dotted path."""

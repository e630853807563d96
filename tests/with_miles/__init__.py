"""Tests against a checkout of miles, a fork of slime."""

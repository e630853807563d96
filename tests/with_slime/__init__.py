"""Tests that need a checkout of slime."""

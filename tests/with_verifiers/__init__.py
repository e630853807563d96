"""Tests with environments of verifiers."""

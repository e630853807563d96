"""Tests of the library, a module each; helpers are in harness.py and engine.py."""

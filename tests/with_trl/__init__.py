"""Tests in real TRL, on the processor."""

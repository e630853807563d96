"""State: what is written, where it lies, and what a resume makes of it."""

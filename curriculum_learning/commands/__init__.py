"""Commands: what a person runs."""

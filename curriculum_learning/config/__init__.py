"""Configuration: one typed plan that all faces read."""

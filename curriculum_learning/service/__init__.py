"""The service: one data source for many workers."""

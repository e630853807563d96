"""Groups: from the first serving of a group to its end."""

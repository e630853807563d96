"""Samples: the sample type, groups of samples, their bytes and their rewards."""

"""Tests that need verl with the sampler hook."""

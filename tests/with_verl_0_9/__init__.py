"""Tests in real verl from 0.9 on, without the sampler hook."""

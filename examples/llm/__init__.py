"""GRPO on a real language model, with a curriculum over arithmetic."""

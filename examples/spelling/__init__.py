"""A small, complete RL loop: a character model learns to spell words backward.

Read ``train.py`` first (the loop), then ``engine.py`` (generation that can be interrupted).
"""

"""What the kinds of files share: bytes at given places, unpacking, fetching, Arrow, shards.

It keeps a bounded number of files open, maps what was converted, and gives rows of shards as one.
It knows neither which ending is which kind, nor prompts.
"""

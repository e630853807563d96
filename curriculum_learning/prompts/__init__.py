"""Rows of prompt files, by index, as prompts.

The wing owns the kinds of files, the check of every row at the start, and the cache of what takes
long to work out.
It reads a row when it is drawn and holds none.
It knows neither what is drawn nor what becomes of it.
"""

from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.prompts import Prompts, open_prompts
from curriculum_learning.prompts.tokenizer import load_tokenizer

__all__ = ["Cache", "Prompts", "load_tokenizer", "open_prompts"]

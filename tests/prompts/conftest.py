"""What the tests of prompts share."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tokenizer that splits at white space and has a chat template."""
    words = {word: i for i, word in enumerate(["[UNK]", "user", "short", "long"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers is half typed
        tokenizer_object=tokenizer, unk_token="[UNK]"
    )
    fast.chat_template = (
        "{% if tools %}tools: {{ tools | length }} {% endif %}"
        "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
        "{% if mark %}{{ mark }}{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    fast.save_pretrained(folder)
    return str(folder)

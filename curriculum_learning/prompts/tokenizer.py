"""The tokenizer of ``hf_checkpoint``, for chat templates and prompt lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.samples.group import Prompt


def tokenizer_of(config: DataSourcePlan, trusts_code: bool) -> Any:
    """Loads the tokenizer if a source needs it, and copies it to ``dump_details``; else None.

    Args:
        config: Names the tokenizer.
        trusts_code: Whether code that comes with it may run, if ``trust_remote_code`` is not set.

    Raises:
        ConfigurationError: As ``load_tokenizer``.
    """
    if config.trust_remote_code is not None:
        trusts_code = config.trust_remote_code
    if any(source.apply_chat_template for source in config.sources):
        key = "apply_chat_template"
    elif any(source.max_prompt_len is not None for source in config.sources):
        key = "rollout_max_prompt_len"
    else:
        return None
    tokenizer = load_tokenizer(str(config.hf_checkpoint), key, trusts_code)
    if config.dump_details is not None:
        with _asking("save_pretrained"):
            tokenizer.save_pretrained(Path(config.dump_details) / "tokenizer")
    return tokenizer


def load_tokenizer(hf_checkpoint: str, key: str, trusts_code: bool) -> Any:
    """Loads a Hugging Face tokenizer.

    Args:
        hf_checkpoint: Its folder or name.
        key: The setting that needs it, for messages.
        trusts_code: Whether code that comes with it may run.

    Raises:
        ConfigurationError: There is no such checkpoint, it cannot be loaded, or transformers is
            not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ConfigurationError(
            f"{key} needs transformers; pip install 'curriculum_learning[tokenizer]'",
            key=key,
            value=hf_checkpoint,
        ) from None
    try:
        return AutoTokenizer.from_pretrained(hf_checkpoint, trust_remote_code=trusts_code)
    except (Exception, SystemExit) as error:  # a tokenizer can be anybody's code
        remedy = ""
        if not trusts_code and "trust_remote_code" in str(error):
            remedy = "; if you trust its code, set trust_remote_code: true"
        raise ConfigurationError(
            f"hf_checkpoint {hf_checkpoint!r} has no tokenizer that can be loaded, which {key} "
            f"needs: {error or type(error).__name__}{remedy}",
            key="hf_checkpoint",
            value=hf_checkpoint,
        ) from error


def tokenizer_key(tokenizer: Any) -> object:
    """Returns a hash of vocabulary, chat template and special tokens, as a part of a cache key.

    Returns the tokenizer if its vocabulary is hidden: no cache keeps anything for such a key.
    """
    with _asking("its vocabulary"):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return tokenizer
        text = backend.to_str() + str(tokenizer.chat_template) + str(tokenizer.special_tokens_map)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def processor_of(config: DataSourcePlan, trusts_code: bool) -> Any:
    """Loads the processor if a source has pictures, and copies it to ``dump_details``; else None.

    Raises:
        ConfigurationError: Prompts with pictures are to be measured, and there is none.
    """
    sources = [source for source in config.sources if source.multimodal_keys]
    if not sources or config.hf_checkpoint is None:
        return None
    from transformers import AutoProcessor, ProcessorMixin

    if config.trust_remote_code is not None:
        trusts_code = config.trust_remote_code
    problem = "what it has is no processor"
    try:
        load: Any = AutoProcessor.from_pretrained
        processor = load(config.hf_checkpoint, trust_remote_code=trusts_code)
    except (Exception, SystemExit) as error:  # a processor can be anybody's code
        processor, problem = None, str(error) or type(error).__name__
    if not isinstance(processor, ProcessorMixin):
        if all(source.max_prompt_len is None for source in sources):
            return None
        raise ConfigurationError(
            f"hf_checkpoint {config.hf_checkpoint!r} has no processor that can be loaded, which "
            f"rollout_max_prompt_len needs for prompts with pictures: {problem}",
            key="hf_checkpoint",
            value=config.hf_checkpoint,
        )
    if config.dump_details is not None:
        with _asking("save_pretrained"):
            processor.save_pretrained(Path(config.dump_details) / "processor")
    return processor


def prompt_lengths(prompts: Sequence[Prompt], tokenizer: Any, processor: Any) -> list[int | None]:
    """Returns the number of tokens of each prompt, its pictures included; None for messages.

    Raises:
        ConfigurationError: As ``token_counts``.
    """
    texts = [
        prompt.prompt
        for prompt in prompts
        if isinstance(prompt.prompt, str) and not prompt.has_media
    ]
    counts = iter(token_counts(tokenizer, texts))
    return [
        None
        if not isinstance(prompt.prompt, str)
        else _media_count(prompt, processor)
        if prompt.has_media
        else next(counts)
        for prompt in prompts
    ]


def _media_count(prompt: Prompt, processor: Any) -> int:
    with _asking("the tokens of a prompt with pictures"):
        output = processor(text=prompt.prompt, **(prompt.multimodal_inputs or {}))
        return len(output["input_ids"][0])


def token_counts(tokenizer: Any, texts: list[str]) -> list[int]:
    """Returns the number of tokens of each text, special tokens left out.

    Raises:
        ConfigurationError: The tokenizer raises, or does not give the tokens of each text.
    """
    if not texts:
        return []
    with _asking("the tokens of prompts"):
        counts = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        if len(counts) != len(texts):
            raise ValueError(f"it gives {len(counts)} lists of tokens for {len(texts)} prompts")
    return counts


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turns anything that the tokenizer raises into a ConfigurationError: it is anybody's code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"the tokenizer of hf_checkpoint fails when asked for {what}: {error!r}",
            key="hf_checkpoint",
        ) from error

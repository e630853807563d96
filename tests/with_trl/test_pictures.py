"""Prompts with pictures: each reaches a model that sees, as it stands in its row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
)

from tests.prompts.pictures import picture, processor_in
from tests.with_trl import inputs

NUMBERS = range(12)


def write_seeing_model(folder: Path) -> Path:
    """A model of some thousand parameters that sees pictures of 28 x 28, and its processor."""
    processor = processor_in(folder)
    tokenizer = processor.tokenizer
    tokenizer.eos_token = tokenizer.pad_token
    processor.num_additional_image_tokens = 1  # the class of a picture, which CLIP puts first
    processor.save_pretrained(folder)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **small),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=0, **small
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


class Trainer(inputs.Trainer):
    """Keeps the pictures that completions are generated for."""

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, *others: Any, **more: Any
    ) -> Any:
        self.seen = [
            *getattr(self, "seen", []),
            *([image.convert("RGB").tobytes() for image in shown] for shown in images),
        ]
        assert len(multimodal_fields["pixel_values"]) == len(images)
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *others, **more)


def test_pictures_reach_generation_and_rewards(tmp_path: Path) -> None:
    """Training on a mixture shows the model the picture of each row drawn, and nothing else."""
    rows = datasets.Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"what is this? {number}"}],
                "images": [picture(number)],
                "data_source": inputs.SOURCES[number % 2],
                "row": number,
            }
            for number in NUMBERS
        ],
        features=datasets.Features(
            prompt=[{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            images=[datasets.Image()],
            data_source=datasets.Value("string"),
            row=datasets.Value("int64"),
        ),
    )
    rewarded: list[tuple[int, str, bytes]] = []

    def reward(data_source: list[str], row: list[int], images: Any, **others: Any) -> list[float]:
        rewarded.extend(
            (number, source, shown[0].convert("RGB").tobytes())
            for number, source, shown in zip(row, data_source, images, strict=True)
        )
        return [inputs.reward(source, number, at % 2) for at, (source, number) in
                enumerate(zip(data_source, row, strict=True))]  # fmt: skip

    trainer = Trainer(
        model=str(write_seeing_model(tmp_path / "model")),
        reward_funcs=reward,
        args=inputs.settings(tmp_path, max_steps=3),
        train_dataset=rows,
        curriculum={"source_weights": {"easy": 3, "hard": 1}},
    )
    trainer.train()
    pixels = {number: picture(number).tobytes() for number in NUMBERS}
    assert len(set(pixels.values())) == len(pixels)
    assert all(shown == pixels[number] for number, _, shown in rewarded)
    assert trainer.seen == [[pixels[number]] for number, _, _ in rewarded]
    assert Counter(source for _, source, _ in rewarded) == {"easy": 36, "hard": 12}

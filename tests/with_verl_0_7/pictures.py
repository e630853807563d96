"""Rows with pictures, and what a batch of them has to be, for every version of verl."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.prompts.pictures import content, picture

ROWS = 40
SETTINGS = [
    "++data.sampler.class_name=MultiSourceSampler",
    "+data.sampler.source_weights.seen=3",
    "+data.sampler.source_weights.read=1",
    "data.filter_overlong_prompts=false",
]


def write_rows(path: Path) -> Path:
    """A parquet file: the prompts of one source have a picture, those of the other have none."""
    rows = [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"what is {placeholder}this? {number}"}],
            "images": [{"bytes": content(number), "path": None}] if placeholder else [],
            "reward_model": {"style": "rule", "ground_truth": "a"},
            "extra_info": {"index": number},
        }
        for number in range(ROWS)
        for source, placeholder in [("read", "") if number % 4 == 0 else ("seen", "<image> ")]
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def check_batch(batch: Any, processor: Any) -> Counter[str]:
    """Each prompt has the picture of its own row, and the processor of a model takes it."""
    for source, extra, messages in zip(
        batch["data_source"], batch["extra_info"], batch["raw_prompt"], strict=True
    ):
        (message,) = messages
        number = extra["index"]
        if source == "read":
            assert message["content"] == f"what is this? {number}"
            continue
        first, shown, last = message["content"]
        assert (first["text"], last["text"]) == ("what is ", f" this? {number}")
        assert shown["image"].convert("RGB").tobytes() == picture(number).tobytes()
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        seen = processor(text=text, images=[shown["image"]])
        assert seen["pixel_values"][0].shape == (3, 28, 28)
    return Counter(batch["data_source"].tolist())

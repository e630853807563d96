"""Rows with pictures: the same samples as slime's own data set makes of the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from slime.utils.data import Dataset
from slime.utils.processing_utils import load_processor, load_tokenizer
from slime.utils.types import Sample

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import interrupt, write_rows
from tests.prompts.pictures import checkpoint_with_processor, rows_with_pictures


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a processor."""
    return checkpoint_with_processor(tmp_path_factory.mktemp("checkpoint"))


def comparable(sample: Any) -> dict[str, Any]:
    """What a sample starts from, its pictures as pixels, and without our own metadata."""
    data = sample.to_dict()
    inputs = data.pop("multimodal_inputs")
    images = [(image.mode, image.size, image.tobytes()) for image in inputs["images"] or []]
    own = {k: v for k, v in data["metadata"].items() if not k.startswith(("data_source", "source"))}
    return {**data, "images": images, "videos": inputs["videos"], "metadata": own,
            "index": None, "group_index": None}  # fmt: skip


@pytest.mark.parametrize(("is_rendered", "longest"), [(True, None), (False, None), (False, 8)])
def test_samples_are_slimes_own(
    tmp_path: Path, checkpoint: str, is_rendered: bool, longest: int | None
) -> None:
    """Prompt, label, metadata, messages and pictures are the same.

    Slime cannot measure rendered prompts with pictures: it looks for pictures in their text.
    """
    path = write_rows(tmp_path / "rows.jsonl", rows_with_pictures(tmp_path))
    theirs = Dataset(
        path,
        load_tokenizer(checkpoint),
        load_processor(checkpoint),
        longest,
        prompt_key="input",
        multimodal_keys={"image": "images"},
        label_key="label",
        tool_key="tools",
        apply_chat_template=is_rendered,
    )
    ours = DataSource(
        {
            "prompt_data": path,
            "multimodal_keys": {"image": "images"},
            "label_key": "label",
            "hf_checkpoint": checkpoint,
            "apply_chat_template": is_rendered,
            "rollout_max_prompt_len": longest,
        }
    )
    assert len(ours) == len(theirs)
    groups = ours.get_samples(len(ours))
    assert all(type(sample) is Sample for group in groups for sample in group)
    assert [comparable(group[0]) for group in groups] == [comparable(s) for s in theirs.samples]


def test_slimes_samples_keep_their_pictures(tmp_path: Path) -> None:
    """A group of slime's samples that comes back has its pictures."""
    path = write_rows(tmp_path / "rows.jsonl", rows_with_pictures(tmp_path))
    source = DataSource({"prompt_data": path, "multimodal_keys": {"image": "images"}})
    (group,) = source.get_samples(1)
    before = comparable(interrupt(group)[0])
    source.add_samples([group])
    state = source.state_dict()
    source.load_state_dict(state)
    assert comparable(source.get_samples(1)[0][0]) == before

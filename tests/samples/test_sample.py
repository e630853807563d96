from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Any

from curriculum_learning.samples.group import Prompt, make_group
from curriculum_learning.samples.sample import Sample


def test_samples_are_those_of_the_constructor(tmp_path: Path) -> None:
    """For any sample class, a new sample equals one that its constructor makes."""

    @dataclasses.dataclass
    class Counted(Sample):
        made: int = 0

        def __post_init__(self) -> None:
            self.made = len(self.prompt)

    class Slotted:
        __slots__ = ("group_index", "index", "label", "metadata", "prompt")

        def __init__(self, **values: Any) -> None:
            for name, value in values.items():
                setattr(self, name, value)

    prompt = Prompt("ab", "c", {"id": [1]})
    chat = [{"role": "user", "content": "x"}]
    (talk, _) = make_group(Sample, Prompt(chat, [1], {}), {}, 0, range(2))
    assert talk == Sample(group_index=0, index=0, prompt=chat, label=None) or talk.label == [1]
    assert talk.prompt is not chat
    odd: dict[str, Any] = {"day": datetime.date(2026, 1, 1), "both": (1, [2]), "big": 2**70}
    (dated,) = make_group(Sample, Prompt("", "", odd), {}, 0, range(1))
    assert dated.metadata == odd
    assert dated.metadata["both"][1] is not odd["both"][1]
    for number in (2**70, 1):
        plain = Prompt("", "", {"tests": [{"n": number, "x": [float("inf"), None]}]}, is_json=True)
        first, second = make_group(Sample, plain, {"t": 1}, 0, range(2))
        assert first.metadata == second.metadata == {**plain.metadata, "t": 1}
        assert first.metadata["tests"][0] is not second.metadata["tests"][0]
    for kind in (Sample, Counted, Slotted):
        first, second = make_group(kind, prompt, {"t": 1}, 3, range(6, 8))
        assert (first.group_index, first.index, second.index) == (3, 6, 7)
        assert first.metadata == second.metadata == {"id": [1], "t": 1}
        assert first.metadata["id"] is not second.metadata["id"]
        if kind is not Slotted:
            assert first == kind(group_index=3, index=6, prompt="ab", label="c", metadata={"id": [1], "t": 1})  # fmt: skip  # noqa: E501 - one object
            for field in dataclasses.fields(Sample):
                value = getattr(first, field.name)
                if isinstance(value, (list, dict, Sample.SpecInfo, Sample.PrefixCacheInfo)):
                    assert value is not getattr(second, field.name), field.name

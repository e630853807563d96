"""The sample type, and walking through samples in any nesting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any

Group = list[Any]
"""``n_samples_per_prompt`` samples; after a fan-out rollout each of them is a list of samples."""


@dataclasses.dataclass
class Sample:
    """One prompt and one response to it; has exactly the fields of slime's sample."""

    class Status(Enum):
        """How far the generation has come; PENDING and ABORTED samples are not finished."""

        PENDING = "pending"
        COMPLETED = "completed"
        TRUNCATED = "truncated"
        ABORTED = "aborted"
        FAILED = "failed"

    @dataclasses.dataclass
    class SpecInfo:
        """Counts of speculative decoding."""

        spec_accept_token_num: int = 0
        spec_draft_token_num: int = 0
        spec_verify_ct: int = 0
        completion_token_num: int = 0

    @dataclasses.dataclass
    class PrefixCacheInfo:
        """Counts of the engine's prefix cache."""

        cached_tokens: int = 0
        total_prompt_tokens: int = 0

    group_index: int | None = None
    index: int | None = None
    rollout_id: int | None = None
    prompt: str | list[dict[str, Any]] = ""
    tokens: list[int] = dataclasses.field(default_factory=list)
    multimodal_inputs: dict[str, Any] | None = None
    multimodal_train_inputs: dict[str, Any] | None = None
    multimodal_train_input_id: str | None = None
    apply_chat_template_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    response: str = ""
    response_length: int = 0
    label: str | None = None
    reward: float | dict[str, Any] | None = None
    loss_mask: list[int] | None = None
    weight_versions: list[str] = dataclasses.field(default_factory=list)
    rollout_log_probs: list[float] | None = None
    rollout_top_p_token_ids: Any = None
    rollout_top_p_token_offsets: Any = None
    rollout_routed_experts: Any = None
    remove_sample: bool = False
    teacher_log_probs: list[float] | None = None
    status: Status = Status.PENDING
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    generate_function_path: str | None = None
    custom_rm_path: str | None = None
    train_metadata: dict[str, Any] | None = None
    session_id: str | None = None
    non_generation_time: float = 0.0
    spec_info: SpecInfo = dataclasses.field(default_factory=SpecInfo)
    prefix_cache_info: PrefixCacheInfo = dataclasses.field(default_factory=PrefixCacheInfo)

    def to_dict(self) -> dict[str, Any]:
        """Returns all attributes, also those that an engine added; values are not copied."""
        return {
            **self.__dict__,
            "status": self.status.value,
            "spec_info": dict(self.spec_info.__dict__),
            "prefix_cache_info": dict(self.prefix_cache_info.__dict__),
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Sample:
        """Returns the sample that ``to_dict`` turned into ``data``."""
        sample = Sample()
        sample.__dict__ |= {
            **data,
            "status": Sample.Status(data["status"]),
            "spec_info": Sample.SpecInfo(**data.get("spec_info", {})),
            "prefix_cache_info": Sample.PrefixCacheInfo(**data.get("prefix_cache_info", {})),
        }
        return sample

    @property
    def effective_response_length(self) -> int:
        """Number of response tokens that the loss counts."""
        return self.response_length if self.loss_mask is None else sum(self.loss_mask)


def flatten(samples: Any) -> Iterator[Any]:
    """Yields the samples in any nesting of lists."""
    for item in samples:
        if isinstance(item, (list, tuple)):
            yield from flatten(item)
        else:
            yield item

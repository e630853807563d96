"""A record becomes a group of samples: the sample type, and its fast construction."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

logger = logging.getLogger(__name__)

Group = list[Any]
"""``n_samples_per_prompt`` samples; after a fan-out rollout, lists of samples in their place."""

SOURCE_KEY = "data_source"
SOURCE_NAME_KEY = "source_name"
WEIGHT_KEY = "data_source_weight"
STEP_KEY = "data_source_rollout_step"
ROW_KEY = "data_source_row"
EPOCH_KEY = "data_source_epoch"
ORIGINAL_KEY = "data_source_original"
TAGS = (SOURCE_KEY, SOURCE_NAME_KEY, WEIGHT_KEY, STEP_KEY, ROW_KEY, EPOCH_KEY, ORIGINAL_KEY)
"""The metadata keys that belong to the data source."""


class Prompt(NamedTuple):
    """What all samples of a group start from."""

    prompt: Any
    """Text, or a list of chat messages."""
    label: Any
    metadata: dict[str, Any]
    is_json: bool = False
    """The metadata is of the types that JSON has."""


@dataclasses.dataclass
class Sample:
    """One prompt and what became of it; field for field slime's sample."""

    class Status(Enum):
        """How far the generation has come; PENDING and ABORTED are still to be generated."""

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
        """All attributes, those set later included, as a dictionary; values are not copied."""
        return {
            **self.__dict__,
            "status": self.status.value,
            "spec_info": dict(self.spec_info.__dict__),
            "prefix_cache_info": dict(self.prefix_cache_info.__dict__),
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Sample:
        """The sample of which ``to_dict`` gave ``data``."""
        values = {
            **data,
            "status": Sample.Status(data["status"]),
            "spec_info": Sample.SpecInfo(**data.get("spec_info", {})),
            "prefix_cache_info": Sample.PrefixCacheInfo(**data.get("prefix_cache_info", {})),
        }
        fields = Sample.__dataclass_fields__
        sample = Sample(**{key: value for key, value in values.items() if key in fields})
        for key in values.keys() - fields.keys():
            setattr(sample, key, values[key])
        return sample

    @property
    def effective_response_length(self) -> int:
        """Number of response tokens that are trained on."""
        return self.response_length if self.loss_mask is None else sum(self.loss_mask)


@functools.cache
def sample_class() -> type[Any]:
    """Slime's ``Sample`` where slime is importable, else ours."""
    try:
        from slime.utils.types import Sample as SlimeSample
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and str(error.name).startswith("slime")):
            logger.warning(
                "slime is installed but cannot be imported (%s): using our Sample", error
            )
        return Sample
    return SlimeSample  # type: ignore[no-any-return]  # slime ships no types


def make_group(
    sample_type: type[Any],
    prompt: Prompt,
    tags: dict[str, Any],
    group_index: int,
    indices: Sequence[int],
) -> Group:
    """A group of samples of one prompt.

    Every sample has its own copy of all that can be changed in place.

    Args:
        sample_type: What ``sample_class`` gave.
        prompt: What the samples start from.
        tags: Metadata to add; scalars.
        group_index: The id of the group.
        indices: The ids of its samples, ``n_samples_per_prompt`` of them.
    """
    text, label, own_metadata, is_json = prompt
    metadata = {**own_metadata, **tags}
    if type(text) in _CONTAINERS or type(label) in _CONTAINERS:
        return [
            sample_type(
                group_index=group_index,
                index=index,
                prompt=own_copy(text),
                label=own_copy(label),
                metadata=own_copy(metadata),
            )
            for index in indices
        ]
    copies = _copies(metadata, len(indices), is_json)
    kind: Any = sample_type
    template = _template(kind)
    if template is None:
        return [
            sample_type(
                group_index=group_index, index=index, prompt=text, label=label, metadata=copy
            )
            for index, copy in zip(indices, copies, strict=True)
        ]
    shared = {**template.attributes, "prompt": text, "label": label, "group_index": group_index}
    group = []
    for index, copy in zip(indices, copies, strict=True):
        sample = _new(sample_type)
        own = sample.__dict__ = shared.copy()
        for name in template.lists:
            own[name] = []
        for name in template.dicts:
            own[name] = {}
        for name, record_type, attributes in template.records:
            record = own[name] = _new(record_type)
            record.__dict__ = attributes.copy()
        for name, factory in template.others:
            own[name] = factory()
        own["index"] = index
        own["metadata"] = copy
        group.append(sample)
    return group


def _copies(metadata: dict[str, Any], count: int, is_json: bool) -> list[dict[str, Any]]:
    """As many dictionaries that share nothing that can change."""
    if _CONTAINERS.isdisjoint(map(type, metadata.values())):
        return [metadata.copy() for _ in range(count)]
    if not is_json:
        return [own_copy(metadata) for _ in range(count)]
    try:
        data = msgspec.msgpack.encode(metadata)
    except OverflowError:  # a whole number of more than 64 bits
        return [own_copy(metadata) for _ in range(count)]
    return [_decode(data) for _ in range(count)]


_decode = msgspec.msgpack.Decoder().decode
_new = object.__new__


class _Template(NamedTuple):
    """What the constructor of a plain data class gives each instance."""

    attributes: dict[str, Any]
    lists: list[str]
    """Attributes that are an empty list of its own in each instance."""
    dicts: list[str]
    records: list[tuple[str, Any, dict[str, Any]]]
    """Attributes that are a plain data class themselves, of values that cannot be changed."""
    others: list[tuple[str, Callable[[], Any]]]
    """Attributes that something else makes for each instance."""


@functools.cache
def _template(kind: Any) -> _Template | None:
    """Of a data class that does nothing but take in its fields; None of any other class.

    Most of the cost of a group is the constructor's walk over some thirty fields and its keyword
    arguments; copying the attributes of another instance takes two thirds of the time.
    """
    parameters = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.init:
        return None
    if any(hasattr(kind, name) for name in ("__post_init__", "__slots__")):
        return None
    if kind.__new__ is not _new or kind.__setattr__ is not object.__setattr__:
        return None
    template = _Template(vars(kind()), [], [], [], [])
    for field in dataclasses.fields(kind):
        factory: Any = field.default_factory
        if factory is list:
            template.lists.append(field.name)
        elif factory is dict:
            template.dicts.append(field.name)
        elif isinstance(factory, type) and (inner := _template(factory)) and not any(inner[1:]):
            template.records.append((field.name, factory, inner.attributes))
        elif factory is not dataclasses.MISSING:
            template.others.append((field.name, factory))
    return template


_CONTAINERS = frozenset((dict, list, tuple))


def own_copy(value: Any) -> Any:
    """A copy of nested dictionaries, lists and tuples; anything else in them is shared."""
    kind = type(value)
    if kind is tuple:
        return tuple(own_copy(item) for item in value)
    if kind is dict:
        return {
            key: own_copy(item) if type(item) in _CONTAINERS else item
            for key, item in value.items()
        }
    if kind is list:
        return [own_copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def flatten(samples: Any) -> Iterator[Any]:
    """The samples in any nesting of lists."""
    for item in samples:
        if isinstance(item, (list, tuple)):
            yield from flatten(item)
        else:
            yield item

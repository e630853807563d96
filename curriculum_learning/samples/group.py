"""Fast construction of groups: the samples that start from one prompt."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from curriculum_learning.samples.sample import Group


class Prompt(NamedTuple):
    """What all samples of a group start from."""

    prompt: Any
    """Text, or a list of chat messages."""
    label: Any
    metadata: dict[str, Any]
    is_json: bool = False
    """The metadata holds only types that JSON has."""
    multimodal_inputs: dict[str, Any] | None = None
    """Lists of pictures and other media, loaded; or None."""

    @property
    def has_media(self) -> bool:
        """Whether there are any pictures or other media."""
        return any(value is not None for value in (self.multimodal_inputs or {}).values())


def make_group(
    sample_type: type[Any],
    prompt: Prompt,
    tags: dict[str, Any],
    group_index: int,
    indices: Sequence[int],
) -> Group:
    """Makes a group of samples that share nothing that can be changed in place.

    Args:
        sample_type: slime's sample class, or ours.
        prompt: What the samples start from.
        tags: Metadata to add; scalars.
        group_index: The id of the group.
        indices: The ids of its samples, ``n_samples_per_prompt`` of them.
    """
    text, label, own_metadata, is_json, inputs = prompt
    copies = _copies({**own_metadata, **tags}, len(indices), is_json)
    kind: Any = sample_type
    template = _template(kind)
    is_simple = type(text) not in _CONTAINERS and type(label) not in _CONTAINERS
    if template is None or not is_simple or inputs is not None:
        return [
            sample_type(
                group_index=group_index,
                index=index,
                prompt=_own_copy(text),
                label=_own_copy(label),
                metadata=metadata,
                **({} if inputs is None else {"multimodal_inputs": _copy_of_media(inputs)}),
            )
            for index, metadata in zip(indices, copies, strict=True)
        ]
    shared = {**template.attributes, "prompt": text, "label": label, "group_index": group_index}
    group = []
    for index, metadata in zip(indices, copies, strict=True):
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
        own["metadata"] = metadata
        group.append(sample)
    return group


_CONTAINERS = frozenset((dict, list, tuple))
_decode = msgspec.msgpack.Decoder().decode
_new = object.__new__


def _copies(metadata: dict[str, Any], count: int, is_json: bool) -> list[dict[str, Any]]:
    """Returns ``count`` copies that share nothing that can be changed in place."""
    if _CONTAINERS.isdisjoint(map(type, metadata.values())):
        return [metadata.copy() for _ in range(count)]
    if is_json:
        try:
            data = msgspec.msgpack.encode(metadata)
            return [_decode(data) for _ in range(count)]
        except OverflowError:  # an integer of more than 64 bits
            pass
    return [_own_copy(metadata) for _ in range(count)]


def _own_copy(value: Any) -> Any:
    """Copies nested dictionaries, lists and tuples; shares anything else in them."""
    kind = type(value)
    if kind is tuple:
        return tuple(_own_copy(item) for item in value)
    if kind is dict:
        return {
            key: _own_copy(item) if type(item) in _CONTAINERS else item
            for key, item in value.items()
        }
    if kind is list:
        return [_own_copy(item) if type(item) in _CONTAINERS else item for item in value]
    return value


def _copy_of_media(value: Any) -> Any:
    """Copies lists and mappings of media, and pictures themselves; engines may change them."""
    if isinstance(value, dict):
        return {key: _copy_of_media(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy_of_media(item) for item in value]
    copy = getattr(value, "copy", None) or getattr(value, "clone", None)  # of tensors
    return value if copy is None else copy()


class _Template(NamedTuple):
    """The attributes that the constructor of a plain data class gives each instance."""

    attributes: dict[str, Any]
    lists: list[str]
    """Attributes that are a new empty list in each instance."""
    dicts: list[str]
    records: list[tuple[str, Any, dict[str, Any]]]
    """Attributes that are a new plain data class of immutable values in each instance."""
    others: list[tuple[str, Callable[[], Any]]]
    """Attributes that another factory makes for each instance."""


@functools.cache
def _template(kind: Any) -> _Template | None:
    """Returns the template of a data class whose constructor only stores its fields, else None.

    The constructor's walk over some thirty fields and its keyword arguments are most of the cost
    of a group; copying the attributes of another instance takes two thirds of the time.
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

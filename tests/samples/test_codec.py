from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning.samples.codec import (
    CannotStoreError,
    decode,
    decode_group,
    encode,
    encode_group,
)
from curriculum_learning.samples.sample import Sample

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary()
    | st.text(st.characters(codec="utf-8"))
)  # fmt: skip
hashable = st.recursive(
    scalars.filter(lambda value: value == value), lambda inner: st.tuples(inner), max_leaves=3
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(hashable, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    ),
)


endless: list[Any] = []
endless.append(endless)


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@settings(deadline=None)
@given(values)
def test_values_come_back_with_their_types(value: Any) -> None:
    """Tuples, sets, NaN, large integers and any nesting of them survive unchanged."""
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3), torch.zeros(0, 4), torch.tensor(1.5),
        torch.rand(3, 2).to(torch.bfloat16), torch.tensor([True, False]),
        torch.arange(10, dtype=torch.int32)[::2], torch.ones(2, requires_grad=True),
        torch.tensor([1 + 2j]).conj(),
    ],
)  # fmt: skip
def test_tensors_come_back(tensor: torch.Tensor) -> None:
    """Tensors keep values, shape and type, and can be written to."""
    (back,) = decode(encode([tensor]))
    assert back.dtype == tensor.dtype
    assert torch.equal(back, tensor.detach())
    back.zero_()


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2), np.int8), np.array(["a", "bc"]),
     np.float32(1.5), np.int64(7), np.bool_(True), np.datetime64("2026-01-02")],
)  # fmt: skip
def test_arrays_and_numpy_numbers_come_back(array: Any) -> None:
    """Arrays and numpy numbers keep values, shape and type."""
    (back,) = decode(encode([array]))
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    "value",
    [
        object(), lambda: 1, {"a": [1, {"b": object()}]}, np.array([object()]), "\ud800",
        {1, "\ud800"}, {(1, 2): object()}, np.ma.masked_array([1, 2], [False, True]),
        np.zeros(2, dtype=[("a", "i4")]), [endless],
    ],
    ids=range(10),
)  # fmt: skip
def test_what_cannot_be_stored_is_refused(value: Any) -> None:
    """Objects, functions and broken text are refused rather than changed."""
    with pytest.raises(CannotStoreError):
        encode(value)


def test_the_refusal_says_where() -> None:
    """The message has the path to the value and its type."""
    with pytest.raises(CannotStoreError, match=r"'a\[1\]\.b' is a builtins\.object"):
        encode({"a": [1, {"b": object()}]})


def test_a_group_comes_back_whole() -> None:
    """Samples keep every field, attributes that were added, and the nesting of a fan-out."""
    sample = Sample(
        group_index=3, index=7, prompt=[{"role": "user", "content": "é"}], tokens=[1, 2**40],
        response="x", response_length=1, reward={"score": math.nan}, loss_mask=[1],
        rollout_log_probs=[-0.5, math.nan], rollout_routed_experts=torch.arange(4).reshape(2, 2),
        status=Sample.Status.ABORTED, metadata={"nested": {"t": (1, 2)}}, session_id="s",
        spec_info=Sample.SpecInfo(completion_token_num=5),
    )  # fmt: skip
    sample.trace = {"events": [1]}  # type: ignore[attr-defined]  # engines add attributes
    group = [[sample, Sample()], [Sample(index=8)]]
    back = decode_group(encode_group(group), Sample)
    assert [[type(item) for item in part] for part in back] == [[Sample, Sample], [Sample]]
    assert back[1] == group[1]
    tensor, original = (s.__dict__.pop("rollout_routed_experts") for s in (back[0][0], sample))
    assert torch.equal(tensor, original)
    assert same(back[0][0].to_dict(), sample.to_dict())
    assert back[0][0].trace == {"events": [1]}

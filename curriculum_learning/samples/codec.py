"""Turns groups into bytes and back; decoding runs no code.

msgpack stores numbers, text, bytes, lists and mappings. Tagged extensions store what msgpack would
change or refuse: tuples, sets, integers over 64 bits, numpy arrays and numbers, torch tensors.
Subclasses of dict become plain dictionaries. Values of any other type are refused.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np

_PLAIN: frozenset[type] = frozenset((type(None), bool, float, str, bytes))
_TUPLE, _SET, _FROZENSET, _BIG_INT, _ARRAY, _NUMBER, _TENSOR, _MAPPING = range(1, 9)
_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_INT_RANGE = range(-(2**63), 2**64)

_encoder = msgspec.msgpack.Encoder()


class CannotStoreError(ValueError):
    """A checkpoint cannot hold a value; the message names its place and type."""


def encode_group(group: list[Any]) -> bytes:
    """Encodes the samples of a group (of a fan-out group: lists of samples).

    Raises:
        CannotStoreError: A sample holds something that a checkpoint cannot.
    """
    return encode([_to_data(item) for item in group])


def decode_group(data: bytes, sample_type: type[Any]) -> list[Any]:
    """Decodes what ``encode_group`` returned, into samples of ``sample_type``."""
    return [_to_samples(item, sample_type) for item in decode(data)]


def encode(value: Any) -> bytes:
    """Encodes plain data, tuples, sets, arrays and tensors; else raises CannotStoreError."""
    try:
        try:
            return _encoder.encode(_pack(value, "", _PLAIN | {int}))
        except OverflowError:  # an integer of more than 64 bits, which is rare
            return _encoder.encode(_pack(value, "", _PLAIN))
    except UnicodeEncodeError as error:
        raise CannotStoreError(f"text that is not valid Unicode: {error}") from None
    except RecursionError:
        raise CannotStoreError("it is nested too deeply, or contains itself") from None


def decode(data: bytes) -> Any:
    """Decodes what ``encode`` returned."""
    return msgspec.msgpack.decode(data, ext_hook=_unpack, strict=False)


def _to_data(item: Any) -> Any:
    return [_to_data(sample) for sample in item] if isinstance(item, list) else item.to_dict()


def _to_samples(item: Any, sample_type: type[Any]) -> Any:
    if isinstance(item, list):
        return [_to_samples(data, sample_type) for data in item]
    return sample_type.from_dict(item)


def _pack(value: Any, where: str, plain: frozenset[type]) -> Any:
    """Returns ``value`` as msgpack can hold it; types in ``plain`` need no change."""
    kind = type(value)
    if kind in plain:
        return value
    if kind is int:
        if value in _INT_RANGE:
            return value
        return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
    if kind is list:
        # Long lists of tokens and log-probabilities are common: checking all their types at once
        # is much cheaper than packing each element.
        if plain.issuperset(map(type, value)):
            return value
        return [_pack(item, f"{where}[{i}]", plain) for i, item in enumerate(value)]
    if kind is dict or isinstance(value, dict):
        if not _PLAIN.issuperset(map(type, value)):
            pairs = [
                [_pack(k, f"{where} (a key)", plain), _pack(v, f"{where}.{k}", plain)]
                for k, v in value.items()
            ]
            return msgspec.msgpack.Ext(_MAPPING, _encoder.encode(pairs))
        return {
            key: _pack(item, f"{where}.{key}" if where else str(key), plain)
            for key, item in value.items()
        }
    if kind in _COLLECTIONS:
        items = [_pack(item, f"{where}[{i}]", plain) for i, item in enumerate(value)]
        return msgspec.msgpack.Ext(_COLLECTIONS[kind], _encoder.encode(items))
    if kind is np.ndarray and _is_simple(value.dtype):
        return msgspec.msgpack.Ext(_ARRAY, _pack_array(value))
    if isinstance(value, np.generic) and _is_simple(value.dtype):
        return msgspec.msgpack.Ext(_NUMBER, _pack_array(np.asarray(value)))
    torch = sys.modules.get("torch")  # before torch is imported no value can be a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        return msgspec.msgpack.Ext(_TENSOR, _pack_tensor(value, torch))
    raise CannotStoreError(
        f"'{where}' is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold; "
        f"use numbers, text, bytes, lists, tuples, sets, mappings, numpy arrays or tensors"
    )


def _is_simple(dtype: np.dtype[Any]) -> bool:
    return not dtype.hasobject and dtype.names is None


def _pack_array(array: np.ndarray[Any, Any]) -> bytes:
    contiguous = np.ascontiguousarray(array)
    return _encoder.encode([contiguous.dtype.str, list(array.shape), contiguous.tobytes()])


def _pack_tensor(tensor: Any, torch: Any) -> bytes:
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise CannotStoreError(f"a tensor of layout {tensor.layout} cannot be held")
    data = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    name = str(data.dtype).removeprefix("torch.")
    raw = data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b""
    return _encoder.encode([name, list(data.shape), raw])


def _unpack(code: int, data: memoryview) -> Any:
    if code == _BIG_INT:
        return int(bytes(data))
    content = decode(bytes(data))
    if code == _MAPPING:
        return dict(content)
    if code == _TUPLE:
        return tuple(content)
    if code == _SET:
        return set(content)
    if code == _FROZENSET:
        return frozenset(content)
    if code in (_ARRAY, _NUMBER):
        dtype, shape, raw = content
        array = np.frombuffer(bytearray(raw), dtype=np.dtype(dtype)).reshape(shape)
        return array if code == _ARRAY else array[()]
    if code == _TENSOR:
        import torch  # here, because only a state with tensors needs it

        name, shape, raw = content
        dtype = getattr(torch, name)
        if not raw:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)
    raise ValueError(f"unknown extension {code}")

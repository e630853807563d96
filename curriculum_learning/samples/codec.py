"""Turns groups into bytes and back; decoding runs no code.

msgpack stores numbers, text, bytes, lists and mappings. Tagged extensions store what msgpack would
change or refuse: tuples, sets, integers over 64 bits, numpy arrays and numbers, torch tensors,
Pillow's pictures.
Subclasses of dict become plain dictionaries. Values of any other type are refused.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

import msgspec
import numpy as np

from curriculum_learning.samples.pictures import is_picture, picture_data, picture_of

_PLAIN: frozenset[type] = frozenset((type(None), bool, float, str, bytes))
_TUPLE, _SET, _FROZENSET, _BIG_INT, _ARRAY, _NUMBER, _TENSOR, _MAPPING, _PICTURE = range(1, 10)
_COLLECTIONS: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_INT_RANGE = range(-(2**63), 2**64)

_DEEPEST = 64
"""How deep tuples, sets and mappings with other keys than text may be nested in each other."""

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
            return _encoder.encode(_pack(value, "", _PLAIN | {int}, _DEEPEST))
        except OverflowError:  # an integer of more than 64 bits, which is rare
            return _encoder.encode(_pack(value, "", _PLAIN, _DEEPEST))
    except UnicodeEncodeError as error:
        raise CannotStoreError(f"text that is not valid Unicode: {error}") from None
    except RecursionError:
        raise CannotStoreError("it is nested too deeply, or contains itself") from None


def decode(data: bytes) -> Any:
    """Decodes what ``encode`` returned.

    Raises:
        ValueError: ``data`` is damaged. No damage runs code, or takes much more memory than
            ``data`` accounts for.
    """
    try:
        return _decode(data, _DEEPEST)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except Exception as error:  # whatever msgpack, numpy or torch say to damaged bytes
        raise ValueError(str(error)) from error


def _to_data(item: Any) -> Any:
    return [_to_data(sample) for sample in item] if isinstance(item, list) else item.to_dict()


def _to_samples(item: Any, sample_type: type[Any]) -> Any:
    if isinstance(item, list):
        return [_to_samples(data, sample_type) for data in item]
    return sample_type.from_dict(item)


def _pack(value: Any, where: str, plain: frozenset[type], depth: int) -> Any:
    """Returns ``value`` as msgpack can hold it; types in ``plain`` need no change."""
    kind = type(value)
    if kind in plain:
        return value
    if kind is int:
        if value in _INT_RANGE:
            return value
        size = value.bit_length() // 8 + 1
        return msgspec.msgpack.Ext(_BIG_INT, value.to_bytes(size, "little", signed=True))
    if kind is list:
        # Long lists of tokens and log-probabilities are common: checking all their types at once
        # is much cheaper than packing each element.
        if plain.issuperset(map(type, value)):
            return value
        return [_pack(item, f"{where}[{i}]", plain, depth) for i, item in enumerate(value)]
    if kind is dict or isinstance(value, dict):
        if not _PLAIN.issuperset(map(type, value)):
            pairs = [
                [
                    _pack(k, f"{where} (a key)", plain, depth - 1),
                    _pack(v, f"{where}.{k}", plain, depth - 1),
                ]
                for k, v in value.items()
            ]
            return _nested(_MAPPING, pairs, depth)
        if kind is dict and plain.issuperset(map(type, value.values())):
            return value
        return {
            key: _pack(item, f"{where}.{key}" if where else str(key), plain, depth)
            for key, item in value.items()
        }
    if kind in _COLLECTIONS:
        items = [_pack(item, f"{where}[{i}]", plain, depth - 1) for i, item in enumerate(value)]
        return _nested(_COLLECTIONS[kind], items, depth)
    if kind is np.ndarray and _is_simple(value.dtype):
        return msgspec.msgpack.Ext(_ARRAY, _pack_array(value))
    if isinstance(value, np.generic) and _is_simple(value.dtype):
        return msgspec.msgpack.Ext(_NUMBER, _pack_array(np.asarray(value)))
    if is_picture(value):
        return msgspec.msgpack.Ext(_PICTURE, _encoder.encode(picture_data(value)))
    torch = sys.modules.get("torch")  # before torch is imported no value can be a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        return msgspec.msgpack.Ext(_TENSOR, _pack_tensor(value, torch))
    raise CannotStoreError(
        f"'{where}' is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold; "
        f"use numbers, text, bytes, lists, tuples, sets, mappings, numpy arrays, tensors or "
        f"Pillow's pictures"
    )


def _nested(code: int, items: list[Any], depth: int) -> Any:
    if depth < 0:
        raise RecursionError
    return msgspec.msgpack.Ext(code, _encoder.encode(items))


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


def _decode(data: Any, depth: int) -> Any:
    # Skipping over the data first costs little, and tells whether it has as many items as it
    # says: decoding makes room for them before it looks.
    msgspec.msgpack.decode(data, type=msgspec.Raw)
    hook = functools.partial(_unpack, depth)
    return msgspec.msgpack.decode(data, ext_hook=hook, strict=False)


def _unpack(depth: int, code: int, data: memoryview) -> Any:
    if code == _BIG_INT:
        return int.from_bytes(data, "little", signed=True)
    if depth < 0:
        raise RecursionError
    content = _decode(data, depth - 1)
    if code == _MAPPING:
        return dict(content)
    if code == _PICTURE:
        return picture_of(content)
    if code == _TUPLE:
        return tuple(content)
    if code == _SET:
        return set(content)
    if code == _FROZENSET:
        return frozenset(content)
    if code in (_ARRAY, _NUMBER):
        name, shape, raw = content
        dtype = np.dtype(name)
        if not _is_simple(dtype) or dtype.subdtype is not None:
            raise ValueError(f"an array of {dtype}")
        _check_size(shape, dtype.itemsize, raw)
        array = np.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)
        return array if code == _ARRAY else array[()]
    if code == _TENSOR:
        import torch  # here, because only a state with tensors needs it

        name, shape, raw = content
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"a tensor of {name}")
        _check_size(shape, dtype.itemsize, raw)
        if not raw:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)
    raise ValueError(f"unknown extension {code}")


def _check_size(shape: Any, itemsize: int, raw: bytes) -> None:
    """Raises ValueError where an array of ``shape`` does not have the size of its bytes."""
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array of shape {shape}")
    if math.prod(shape) * itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} with {len(raw)} bytes")

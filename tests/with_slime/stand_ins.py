"""Stand-ins for the packages that slime imports and a test environment does not have.

They hold the names that slime reads while it is imported and on the paths that the tests take,
and nothing else; a package that is installed is left alone.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping
from typing import Any


class _Named:
    """Something that slime names while it is imported, and that no test comes to use."""


def _as_it_is(actor: type[Any]) -> type[Any]:
    """Leaves an actor the plain class that it is, instead of moving it to another process."""
    return actor


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Does nothing."""


class _HTTPStatusError(Exception):
    """Slime looks for it among the errors of its HTTP client."""


_MODULES: Mapping[str, Mapping[str, Any]] = {
    "aiohttp": {"ClientSession": _Named},
    "httpx": {"AsyncClient": _Named, "HTTPStatusError": _HTTPStatusError},
    "pylatexenc": {"latex2text": _Named},
    "ray": {"remote": _as_it_is},
    "ray.util": {},
    "ray.util.scheduling_strategies": {"PlacementGroupSchedulingStrategy": _Named},
    "sglang": {},
    "sglang.srt": {},
    "sglang.srt.constants": {
        "GPU_MEMORY_TYPE_CUDA_GRAPH": "cuda_graph",
        "GPU_MEMORY_TYPE_KV_CACHE": "kv_cache",
        "GPU_MEMORY_TYPE_WEIGHTS": "weights",
    },
    "sglang.srt.server_args": {"ServerArgs": _Named},
    "sglang.srt.utils": {"kill_process_tree": _ignore},
    "sglang_router": {},
    "sglang_router.launch_router": {"RouterArgs": _Named},
    "wandb": {"log": _ignore},
}


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    # Without an origin it is just a folder of that name; wandb makes one where it runs.
    return spec is not None and spec.origin is not None


def install() -> None:
    """Put stand-ins into ``sys.modules`` for the packages that are missing."""
    packages = [name for name in _MODULES if "." not in name]
    missing = [name for name in packages if not _is_installed(name)]
    for name, attributes in _MODULES.items():
        if name.partition(".")[0] not in missing:
            continue
        # With a spec, because other libraries ask by it whether a package is there.
        spec = importlib.machinery.ModuleSpec(name, loader=None)
        module = importlib.util.module_from_spec(spec)
        module.__dict__.update(attributes)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)

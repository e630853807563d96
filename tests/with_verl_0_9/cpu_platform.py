"""A platform of verl's without an accelerator.

verl imports it where ``VERL_USE_EXTERNAL_MODULES`` names it; it must be the first one there, since
others may ask for the platform.
"""

from __future__ import annotations

import contextlib
import functools
import os
import types
from collections.abc import Callable, Iterator
from typing import Any

from verl.plugin.platform import PlatformRegistry
from verl.plugin.platform.platform_base import PlatformBase
from verl.utils import distributed

_DEVICE = types.SimpleNamespace(
    is_available=lambda: False,
    current_device=lambda: "cpu",
    get_device_name=lambda: "CPU",
    mem_get_info=lambda: (0, 0),
    **dict.fromkeys(("set_device", "synchronize", "empty_cache"), lambda *_: None),
    **dict.fromkeys(
        ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"),
        lambda: 0,
    ),
)
"""What ``torch.cuda`` is on other machines."""


def _always(value: Any) -> Callable[..., Any]:
    """A method with one answer."""
    return lambda self, *_, **__: value


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):  # type: ignore[misc]  # verl has no types
    """The processor as verl's device; Ray is told that it is a GPU."""

    device_name = "cpu"
    vendor_name = "any"
    device_module = _DEVICE

    is_available = is_ipc_supported = _always(False)
    device_count = _always(1)
    current_device = _always("cpu")
    communication_backend_name = _always("gloo")
    get_device_capability = _always((None, None))
    visible_devices_envvar = _always("CUDA_VISIBLE_DEVICES")
    ray_resource_name = _always("GPU")
    ray_noset_envvars = _always([])
    set_device = synchronize = manual_seed = manual_seed_all = _always(None)
    set_allocator_settings = empty_cache = cudart = _always(None)
    profiler_start = profiler_stop = _always(None)

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """Profile nothing."""
        yield


# The engine that verl registers for this device needs none.
os.environ["VERL_ENGINE_DEVICE"] = "cuda"
# verl names the device and "cpu" in one string, which torch refuses where they are the same.
distributed.initialize_global_process_group_ray = functools.partial(
    distributed.initialize_global_process_group_ray, backend="cpu:gloo"
)

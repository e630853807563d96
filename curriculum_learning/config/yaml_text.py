"""Reads a YAML document within bounds of depth, and of what its aliases stand for."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 100
"""Mappings and lists inside each other."""
MAX_REPEATED = 10_000
"""Values that aliases repeat, all together."""


class _Loader(yaml.SafeLoader):
    """Stops at the depth that is allowed: PyYAML's time grows with its square."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("is nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """Returns the nodes of a document, None if it is empty, and its value.

    Raises:
        yaml.YAMLError: It is no YAML of one document, or not of plain values.
        ValueError: It is beyond a bound, or holds itself; the text continues a sentence.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        sizes: dict[yaml.Node, int] = {}
        if _measure(node, sizes, ()) - len(sizes) > MAX_REPEATED:
            raise ValueError(f"has aliases that repeat more than {MAX_REPEATED} values")
    finally:
        loader.dispose()
    # A new parse: merge keys change the nodes.
    again = yaml.SafeLoader(text)
    try:
        return node, again.get_single_data()
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's constructors raise anything: a month 99, a bool "x"
        raise yaml.YAMLError(f"a value cannot be read: {error!r}") from None
    finally:
        again.dispose()


def _measure(node: yaml.Node, sizes: dict[yaml.Node, int], above: tuple[yaml.Node, ...]) -> int:
    """Returns the number of nodes below and including this one, as if aliases were copies."""
    if node in sizes:
        return sizes[node]
    if node in above:
        raise ValueError("holds itself")
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    sizes[node] = 1 + sum(_measure(part, sizes, (*above, node)) for part in inner)
    return sizes[node]

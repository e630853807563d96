"""What a benchmark finds: figures with their targets, tables beside them, and details."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

_HEAD = ("work", "measured", "target", "", "in detail")


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured number."""

    work: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    """Without either bound there is no target."""
    detail: str = ""
    """What the number is made of."""
    runs: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    """The single measurements, by name."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        return not (
            (self.at_most is not None and self.value > self.at_most)
            or (self.at_least is not None and self.value < self.at_least)
        )

    @property
    def target(self) -> str:
        """The bound, as text."""
        if self.at_most is not None:
            return f"<= {quantity(self.at_most, self.unit)}"
        return "" if self.at_least is None else f">= {quantity(self.at_least, self.unit)}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Things compared in more than one respect."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Findings:
    """All that one benchmark found."""

    figures: list[Figure] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Plain data for the JSON alone."""

    def as_data(self) -> dict[str, Any]:
        """Plain data, with the verdict on each figure."""
        data = dataclasses.asdict(self)
        for figure, values in zip(self.figures, data["figures"], strict=True):
            values["met"] = figure.met
        return data

    @staticmethod
    def of(data: dict[str, Any]) -> Findings:
        """The findings of which ``as_data`` gave ``data``."""
        names = {field.name for field in dataclasses.fields(Figure)}
        return Findings(
            [Figure(**{k: v for k, v in f.items() if k in names}) for f in data["figures"]],
            [Table(**table) for table in data["tables"]],
            data["details"],
        )


def quantity(value: float, unit: str) -> str:
    """A number of three digits with its unit, the way a table shows it."""
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return digits + (unit if unit in ("x", "%", "") else f" {unit}")


def figures_table(figures: Sequence[Figure]) -> str:
    """Markdown: one line per figure, with its target and whether it is met."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [
        [f.work, quantity(f.value, f.unit), f.target, verdicts[f.met], f.detail] for f in figures
    ]
    return markdown(_HEAD, rows)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it is readable as plain text."""
    cells = [[*columns], *([*row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)

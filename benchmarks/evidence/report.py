"""The page of the evidence: tables and pictures are made anew, the prose around them is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence.errors import UsageError
from benchmarks.evidence.pictures import draw_curves, draw_forest
from benchmarks.evidence.runs import Line
from benchmarks.evidence.tables import behind, cells, final_table, settings_table, task_table

PAGE = Path("docs/evidence.md")
_BEGIN, _END = "<!-- made by `make evidence-report`: begin -->", "<!-- end -->"


def write_page(lines: Sequence[Line], page: Path) -> None:
    """Replaces the figures in a page, and the pictures beside it in ``pictures/``.

    Args:
        lines: Results of reported seeds.
        page: A Markdown file with the two marks between which the figures are.

    Raises:
        UsageError: There are no results, or the page has not both marks.
    """
    if not lines:
        raise UsageError("there are no results: run `make evidence` first")
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    if not pattern.search(text):
        raise UsageError(f"{page} lacks the lines {_BEGIN} and {_END}, between which figures go")
    figures = _figures(lines, page.parent / "pictures")
    page.write_text(pattern.sub(lambda _: f"{_BEGIN}\n{figures}\n{_END}", text), encoding="utf-8")


def _figures(lines: Sequence[Line], folder: Path) -> str:
    """Draws the pictures and returns the text with the tables."""
    folder.mkdir(exist_ok=True)
    found = cells(lines)
    draw_forest(found, folder / "evidence.png")
    seeds = [len(each) for methods in found.values() for each in methods.values()]
    fewest, most = min(seeds), max(seeds)
    blocks = [
        behind(lines),
        f"**{fewest}{f' to {most}' if most > fewest else ''} seeds stand behind each line.**",
        f"![Differences to uniform mixing]({folder.name}/evidence.png)",
    ]
    for task, methods in found.items():
        draw_curves(methods, folder / f"evidence_{task}.png")
        hardest = next(iter(methods.values()))[0]["hardest"]
        blocks += [
            f"### {task}",
            task_table(methods),
            f"Accuracy on the held-out set `{hardest}`; in grey uniform mixing:",
            f"![Curves of {task}]({folder.name}/evidence_{task}.png)",
            "Final accuracy on each held-out set:",
            final_table(methods),
        ]
    blocks += ["### Settings", settings_table(found)]
    return "\n\n".join(blocks)

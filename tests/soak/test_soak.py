from __future__ import annotations

from pathlib import Path

from tests.soak.campaign import Campaign


def test_a_short_soak(tmp_path: Path) -> None:
    """Killed, resumed and changed, a run with everything on loses and doubles nothing."""
    outcome = Campaign(tmp_path, groups=12_000, seed=3).run()
    assert outcome.problems == []
    assert outcome.events["groups"] >= 12_000
    assert outcome.events["kills"] >= 2

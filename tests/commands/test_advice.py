"""What preview says of a configuration: warnings to mend, notes, and errors of one cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from curriculum_learning.__main__ import WARNED, WELL, main
from curriculum_learning.commands.advice import FILTER
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, CAP_FILTER, LOG_FUNCTION
from tests.commands.test_preview import preview, write_config
from tests.harness import write_rows


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({}, []),
        (
            {"data_source_weights": [1, 0]},
            [
                ("'b': never reached: its weight", "- 0.143  # b, in data_source_weights"),
                ("--max-epochs 4: of 'a' 6.0 times; lower its weight", "num_rollout: 20"),
            ],
        ),
        (
            {"data_source_weights": {"a": 1, "b": 0.001}},
            [
                (
                    "'b': never reached: its largest share, 0.001,",
                    "b: 0.143  # in data_source_weights",
                ),
                ("of 'a' 6.0 times", "num_rollout: 20"),
            ],
        ),
        (
            {"num_rollout": 90},
            [("of 'a' 4.5 times, of 'b' 9.0 times; lower their weights", "num_rollout: 40")],
        ),
        (
            {"data_source_weights": [0.1, 0.9]},
            [
                (
                    "'a': less than 1 of 8 groups in 30 steps (0 to 29, down to 0.8)",
                    "rollout_batch_size: 10",
                )
            ],
        ),
        (
            {"data_source_weights": [1, "lambda step: 1 + min(step / 60, 1)"]},
            [
                (
                    "the weight of 'b' changes until step 60, and the run ends after 30 steps",
                    "num_rollout: 60",
                )
            ],
        ),
        (
            {"data_source_weights": [1, "lambda step: 1 - step / 40"], "rollout_batch_size": 2},
            [("'b': less", "rollout_batch_size: ")],
        ),
        (
            {"custom_rollout_log_function_path": None},
            [("hooks: nothing reports which", f"custom_rollout_log_function_path: {LOG_FUNCTION}")],
        ),
        (
            {"dynamic_sampling_filter_path": "tests.engine.keeps"},
            [("hooks: dropped", f"rollout_all_samples_process_path: {ALL_SAMPLES_FUNCTION}")],
        ),
        (
            {"over_sampling_batch_size": 12},
            [("hooks: discarded", f"rollout_all_samples_process_path: {ALL_SAMPLES_FUNCTION}")],
        ),
        ({"over_sampling_batch_size": 12, "partial_rollout": True}, []),
        (
            {"data_source_reward_caps": [0.9, None]},
            [("reward caps: data_source_reward_caps drops", f"{FILTER}: {CAP_FILTER}")],
        ),
        (
            {
                "data_source_reward_caps": [0.9, None],
                "rollout_all_samples_process_path": ALL_SAMPLES_FUNCTION,
                FILTER: CAP_FILTER,
            },
            [],
        ),
        (
            {
                "data_source_curricula": {
                    "b": {
                        "type": "time",
                        "complexity_key": "id",
                        "initial_complexity_percentile": 0.3,
                        "complexity_warmup_steps": 5,
                    }
                },
            },
            [
                (
                    "'b': 1 of its rows open at first, for 6 groups",
                    "initial_complexity_percentile: 10",
                ),
                ("of 'b' 8.0 times", "num_rollout: 15"),
            ],
        ),
    ],
)
def test_what_people_get_wrong_is_warned_of(
    changes: dict[str, Any],
    pieces: list[tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each warning comes where it should, in two lines, the second to be pasted; no others do."""
    path = write_config(tmp_path, **changes)
    warnings = preview(capsys, path)["warnings"]
    assert len(warnings) == len(pieces), warnings
    for (piece, line), warning in zip(pieces, warnings, strict=True):
        problem, remedy = warning.split("\n")
        assert piece in problem
        assert remedy.startswith(line)
        assert len(problem) <= 130
        yaml.safe_load(remedy)
    assert main(["preview", path, "--strict", "--no-picture"]) == (WARNED if warnings else WELL)


@pytest.mark.parametrize(
    ("weight", "note"),
    [
        ("lambda step: 1 + min(step, 5)", "from step 5 of 30 on the weight of 'b' is constant"),
        ("lambda step: 1 + min(step / 30, 1)", None),
        ("lambda step: 1 + step / 100", "the weight of 'b' still changes when the run ends"),
        (
            "lambda step: 1 - step / 40",
            "beyond the end of the run, at step 41, no weight is usable any more",
        ),
    ],
)
def test_a_normal_schedule_is_a_note_at_most(
    weight: str, note: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Schedules that end before the run, with it or never are nothing to mend."""
    path = write_config(tmp_path, data_source_weights=[1, weight])
    assert preview(capsys, path)["notes"] == ([] if note is None else [note])
    capsys.readouterr()
    main(["preview", path, "--no-picture"])
    assert (f"note: {note}\n" in capsys.readouterr().out) == (note is not None)


def test_a_wrong_column_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the place of the key, or that of the file where the key has its default."""
    path = write_config(tmp_path, input_key="prompt")
    (error,) = preview(capsys, path)["errors"]
    assert error["place"] == f"{path}:{line_of(path, 'input_key')}"
    assert error["message"].endswith("its columns, ['input', 'metadata']; the same in 'b'")
    path = write_config(tmp_path)
    write_rows(tmp_path / "b.jsonl", [{"text": "x"}])
    (error,) = preview(capsys, path)["errors"]
    assert error["place"] == f"{path}:{line_of(path, 'b.jsonl')}"
    assert "set input_key (also by source) to one of its columns, ['text']" in error["message"]


def line_of(path: str, text: str) -> int:
    """The number of the line that has a text."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.config.curricula import CURRICULA_GROUP, RULES_GROUP
from curriculum_learning.weight_scheduler import parse_weight
from tests.harness import name_of, write_rows

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
DOCUMENTS = (
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md"), *CONFIGS,
    *ROOT.glob("verl_extensions/*.md"), *ROOT.glob("verl_extensions/*.yaml"),
)  # fmt: skip

SCHEDULES = (
    "easy_to_hard", "hard_to_easy", "exponential_decay", "exponential_warmup",
    "level_increasing", "level_decreasing",
)  # fmt: skip
SCHEDULE_MODULES = (
    "curriculum_learning.weight_scheduler",
    "examples.curriculum_learning.weight_scheduler",
)
"""The second one is no module: weights know it by name."""

PATHS = (
    "curriculum_learning.MultipleWeightedRolloutDataSourceWithBuffer",
    "curriculum_learning.data_source.MultipleWeightedRolloutDataSourceWithBuffer",
    "curriculum_learning.custom_log.custom_rollout_log_function",
    "curriculum_learning.custom_log.per_source_metrics",
    "curriculum_learning.custom_log.process_all_samples",
    "curriculum_learning.ray_service.RemoteDataSource",
    "curriculum_learning.reward_cap_filter.check_reward_cap_per_source",
    "curriculum_learning.samplers.MultiSourceSampler",
    "curriculum_learning.samplers.TimeCurriculumSampler",
    "curriculum_learning.samplers.RewardCurriculumSampler",
    "curriculum_learning.shard.shard",
    "curriculum_learning.trackers.TensorBoard",
    "curriculum_learning.trackers.WandB",
    "curriculum_learning.trackers.tensorboard",
    "curriculum_learning.trackers.wandb",
    "curriculum_learning.verl_trainer",
    "curriculum_learning.weight_scheduler.parse_weight",
    "verl_extensions.MultiSourceSampler",
    "verl_extensions.TimeCurriculumSampler",
    "verl_extensions.RewardCurriculumSampler",
    "verl_extensions.CurriculumMultiSourceSampler",
    "verl_extensions.RewardGatedCurriculumSampler",
    "pkg://verl_extensions.multi_source_sampler.MultiSourceSampler",
    "pkg://verl_extensions.multi_source_sampler.TimeCurriculumSampler",
    "pkg://verl_extensions.multi_source_sampler.RewardCurriculumSampler",
    "pkg://verl_extensions.multi_source_sampler.CurriculumMultiSourceSampler",
    "pkg://verl_extensions.multi_source_sampler.RewardGatedCurriculumSampler",
    *(f"{module}.{name}" for module in SCHEDULE_MODULES for name in SCHEDULES),
)
"""The paths that a configuration, a command line or an import may name."""


def paths_in_documents() -> set[str]:
    """The dotted paths of this repository that the documents and configurations name."""
    paths: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        paths |= set(
            re.findall(r"\b(?:curriculum_learning|examples|verl_extensions)(?:\.\w+)+", text)
        )
    return paths - {*SCHEDULE_MODULES, CURRICULA_GROUP, RULES_GROUP}


@pytest.mark.parametrize("path", sorted({*PATHS, *paths_in_documents()}))
def test_a_documented_path_resolves(path: str) -> None:
    """Each dotted path that a user may name leads to a module, a class, a function or a weight."""
    module, _, name = path.removeprefix("pkg://").rpartition(".")
    if name in SCHEDULES:
        assert parse_weight(path, "a")(0) > 0
    else:  # verl_trainer is looked for only: it cannot be imported without verl
        assert hasattr(importlib.import_module(module), name) or importlib.util.find_spec(path)


@pytest.mark.parametrize("name", ["data_source.py", "weight_scheduler.py", "custom_log.py"])
def test_a_documented_file_is_at_the_top(name: str) -> None:
    """The files that the documents describe lie at the top of the package."""
    assert (ROOT / "curriculum_learning" / name).exists()


def test_the_import_is_light() -> None:
    """Importing the package and its light faces imports no engine, no torch and no pydantic."""
    program = (
        "import json, sys, curriculum_learning, curriculum_learning.custom_log;"
        "import curriculum_learning.__main__, curriculum_learning.trackers;"
        "print(json.dumps([m for m in ('torch', 'ray', 'verl', 'slime', 'transformers', "
        "'matplotlib', 'rich', 'tensorboardX', 'wandb', 'pydantic') if m in sys.modules]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert json.loads(output) == []


def test_there_are_the_documented_configurations() -> None:
    """Those of the specification, of the demo, and one for each way to learn from results."""
    assert {path.stem for path in CONFIGS} >= {
        "constant_weights", "lambda_weights", "function_weights", "mixed_weights",
        "demo", "demo_uniform", "quickstart",
        "time_curriculum", "reward_curriculum", "adaptive_weights", "reward_caps",
    }  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_runs_as_it_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file gives a working data source once its prompt files exist."""
    monkeypatch.chdir(tmp_path)
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    shutil.copytree(ROOT / "examples" / "data", tmp_path / "examples" / "data")
    for file in map(Path, config["prompt_data"]):
        if file.parent.name == "prompts":  # `make demo` writes these
            file.parent.mkdir(parents=True, exist_ok=True)
            write_rows(file, [{"input": f"{i}", "label": "", "metadata": {}} for i in range(50)])
    source = DataSource(config)
    groups = source.get_samples(400)
    names = {Path(file).stem for file in config["prompt_data"]}
    assert {name_of(group) for group in groups} == names
    assert len(groups[0]) == config["n_samples_per_prompt"]
    source.save(0)
    source.close()

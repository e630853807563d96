"""What a configuration amounts to, without a run: its mixture, its batch, its steps."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curriculum_learning import samplers
from curriculum_learning.commands.training_files import assumed_rows, training_rows
from curriculum_learning.config.data_source import check_config
from curriculum_learning.config.files import RunConfig, unset_variables
from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.config.problems import listed, suggestion
from curriculum_learning.config.samplers import check_sampler_config
from curriculum_learning.config.sources import KEYS as SOURCE_KEYS
from curriculum_learning.config.sources import OF_MIXTURE
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
)
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.columns import SCORE_COLUMN
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.prompts.tokenizer import load_tokenizer, processor_of
from curriculum_learning.state.disk import check_writable
from curriculum_learning.state.files import find_state
from curriculum_learning.state.lock import FolderLock
from curriculum_learning.weights.schedules import Schedule

logger = logging.getLogger(__name__)

Errors = list[CurriculumLearningError]

WRITES_NOTHING = {"save": None, "load": None, "autosave": False, "dump_details": None}
"""Settings of a data source that only looks."""
_ASSUMED = {
    "data_source_cache": False,
    "apply_chat_template": False,
    "rollout_max_prompt_len": None,
    "multimodal_keys": None,
}
"""Settings of one whose rows are made up."""


@dataclasses.dataclass
class Plan:
    """A configuration that can be used."""

    engine: str
    """``slime`` (or a loop of one's own) or ``verl``: by whose keys it was read."""
    mixture: Mixture
    rows: Mapping[str, int | None]
    """Rows of each source, those over the length limit included; None is without end."""
    batch: int | None
    """Groups of a rollout; rows of a batch in verl."""
    steps: int | None
    """Rollouts of the run; updates in verl."""
    caps: Mapping[str, Schedule]
    """The caps on rewards, of sources that have one."""
    config: DataSourcePlan | None
    """The data source's configuration, where there is one."""
    values: Mapping[str, Any]
    """What a data source that writes nothing can be made from."""
    saved: int | None = None
    """The last rollout of which a state is saved where the run loads from."""


class PlacedError(CurriculumLearningError):
    """An error with the place that it comes from.

    Attributes:
        place: File and line of the value, or None.
    """

    def __init__(self, error: CurriculumLearningError, place: str | None) -> None:
        message = str(error) if place is None else f"{place}: {error}"
        unset = unset_variables(error.value) if isinstance(error.value, str) else []
        if unset:
            named = ", ".join(f"${name}" for name in unset)
            message += f"; neither the script nor the environment sets {named}"
        super().__init__(message, source=error.source, key=error.key, value=error.value)
        self.place = place


def read_plan(
    run: RunConfig, rows: Mapping[str, int], batch: int | None
) -> tuple[Plan | None, list[PlacedError], list[str]]:
    """Reads a configuration as the run will, and finds all that is wrong with it.

    Args:
        run: What was configured.
        rows: Sizes of sources that are ``assuming``; where there are any, no file is opened.
        batch: Stands in where no batch size is configured.

    Returns:
        The plan, None if there are errors; the errors; what was warned of meanwhile.
    """
    data = run.values.get("data", run.values)
    is_verl = isinstance(data, Mapping) and "sampler" in data
    with _listening() as warnings:
        if is_verl:
            plan, errors = _read_verl(run.values, data, rows, batch)
            names = list(plan.rows) if plan is not None else []
        else:
            plan, errors, names = _read_slime(run.values, rows, batch)
    found = [PlacedError(error, run.place(error, names)) for error in errors]
    found.sort(key=_by_place)
    return (None if found else plan), found, warnings


def _by_place(error: PlacedError) -> tuple[str, int]:
    """Sorts by line; errors without a place come last."""
    name, _, line = (error.place or "").rpartition(":")
    return (name, int(line)) if line.isdecimal() else ("\uffff", 0)


def _read_slime(
    values: Mapping[str, Any], rows: Mapping[str, int], batch: int | None
) -> tuple[Plan | None, Errors, list[str]]:
    if rows and values.get("prompt_data") is None:
        values = {"prompt_data_source_names": list(rows), **values}
        values = {**values, "prompt_data": [f"{name}.jsonl" for name in rows]}
    config, findings = check_config(values)
    names = [source.name for source in config.sources]
    errors: Errors = [error for error in findings.errors if not (rows and _is_of_tokenizer(error))]
    if not errors and not names:
        problem = "is false: the engine brings its own prompts, so there is nothing to look at"
        key = "rollout_global_dataset"
        errors.append(ConfigurationError(f"{key} {problem}", key=key))
    errors += _other_names(rows, names) if rows else _data_errors(config, findings.errors)
    if errors:
        return None, errors, names
    quiet = {**values, **WRITES_NOTHING}
    if rows:
        quiet |= _ASSUMED
    try:
        # The schedules have been tried already.
        folder = None if rows else config.load
        mixture, lengths, saved = _opened({**quiet, "num_rollout": 1}, folder)
    except CurriculumLearningError as error:
        return None, [error], names
    if config.save is not None and not rows:
        _look_at(config.save)
    size = config.rollout_batch_size or batch
    caps = {source.name: source.reward_cap for source in config.sources if source.reward_cap}
    steps = config.num_rollout
    return Plan("slime", mixture, lengths, size, steps, caps, config, quiet, saved), [], names


def _look_at(folder: Path) -> None:
    """Warns of what would refuse the states of the run; on its own machine it may be otherwise."""
    try:
        check_writable(folder)
        FolderLock(folder).check()
    except CheckpointError as error:
        logger.warning("%s", error)


def _is_of_tokenizer(error: ConfigurationError) -> bool:
    """Whether no tokenizer is given; where no file is opened none is needed."""
    return error.key == "hf_checkpoint" and error.value is None


def _other_names(rows: Mapping[str, int], names: Sequence[str]) -> Errors:
    if set(rows) == set(names) or not names:
        return []
    problem = f"gives sizes of {sorted(rows)}, the sources are {sorted(names)}: one for each"
    return [ConfigurationError(f"--rows {problem}", key="--rows", value=dict(rows))]


def _data_errors(config: DataSourcePlan, found: Sequence[ConfigurationError]) -> Errors:
    """Returns what is wrong with the prompt files that can be read in spite of ``found``."""
    keys = {key for field, key in SOURCE_KEYS.items() if field not in OF_MIXTURE}
    wrong = {error.source for error in found if error.key in keys}
    sources = [source for source in config.sources if not wrong & {None, source.name}]
    tokenizer = processor = None
    needs = [s for s in sources if s.apply_chat_template or s.max_prompt_len is not None]
    errors: Errors = []
    if needs and config.hf_checkpoint is not None:
        key = "apply_chat_template" if needs[0].apply_chat_template else "rollout_max_prompt_len"
        try:
            tokenizer = load_tokenizer(config.hf_checkpoint, key, bool(config.trust_remote_code))
            processor = processor_of(dataclasses.replace(config, dump_details=None), False)
        except CurriculumLearningError as error:
            tokenizer = None
            errors.append(error)
    for source in sources if tokenizer else [s for s in sources if s not in needs]:
        try:
            Prompts(source, tokenizer, Cache(config.cache), processor).close()
        except CurriculumLearningError as error:  # noqa: PERF203 - each file has errors of its own
            error.key, error.source = error.key or "prompt_data", source.name
            errors.append(error)
    return _once(errors)


def _once(errors: Errors) -> Errors:
    """Returns one error for each wrong column, though each source that has it set is wrong."""
    columns = {SOURCE_KEYS[field] for field in ("input_key", "label_key", "metadata_key")}
    alike: dict[tuple[str, ...], Errors] = {}
    for error in errors:
        same = (error.key, repr(error.value)) if error.key in columns else (str(error),)
        alike.setdefault(same, []).append(error)
    for first, *others in alike.values():
        if others:
            first.args = (f"{first}; the same in {listed(other.source for other in others)}",)
    return [same[0] for same in alike.values()]


def _opened(
    values: Mapping[str, Any], folder: Path | None
) -> tuple[Mixture, dict[str, int | None], int | None]:
    """Returns a data source's mixture, the rows in its files, and the last saved rollout."""
    source = MultipleWeightedRolloutDataSourceWithBuffer(dict(values))
    try:
        mixture = source.dataset
        assert mixture is not None
        prints = source.state_dict()["identity"]["sources"]
        rows = {name: fingerprint["rows"] for name, fingerprint in prints.items()}
        return mixture, rows, _try_resume(source, folder)
    finally:
        source.close()


def _try_resume(
    source: MultipleWeightedRolloutDataSourceWithBuffer, folder: Path | None
) -> int | None:
    """Loads the newest state of a folder, and takes it back; returns its rollout.

    It warns of what has changed since the state was saved, and if the state does not fit: whether
    the run loads it is the engine's choice.
    """
    fresh = source.state_dict()
    try:
        found = None if folder is None else find_state(folder, None, "restart")
        if found is None:
            return None
        source.load_state_dict(found.state)
    except CheckpointError as error:
        logger.warning("%s cannot be resumed: %s", folder, error)
        return None
    source.load_state_dict(fresh)
    rollout: int = found.state["rollout_id"]
    return rollout


def _read_verl(
    values: Mapping[str, Any], data: Mapping[str, Any], rows: Mapping[str, int], batch: int | None
) -> tuple[Plan | None, Errors]:
    if data.get("train_batch_size") is None and batch is not None:
        data = {**data, "train_batch_size": batch}
    trainer = values.get("trainer")
    trainer = trainer if isinstance(trainer, Mapping) else {}
    steps = trainer.get("total_training_steps")
    errors: Errors = []
    node = data.get("sampler")
    if isinstance(node, Mapping) and isinstance(steps, int):
        node = {"num_rollout": steps, **node}
        data = {**data, "sampler": node}
    name = node.get("class_name") if isinstance(node, Mapping) else None
    if name not in samplers.__all__:
        problem = f"({name!r}) is no sampler; {suggestion(name, samplers.__all__)}"
        key = "sampler.class_name"
        errors.append(ConfigurationError(f"{key} {problem}", key=key, value=name))
        name = "MultiSourceSampler"  # to look at the other keys
    kind = getattr(samplers, name)
    config, findings = check_sampler_config(data, kind.curriculum_type)
    errors += findings.errors
    try:
        recipes = [] if config is None else config.source_curricula.values()
        scores = {SCORE_COLUMN, *(recipe.complexity_key for recipe in recipes)}
        priors = {recipe.prior_key for recipe in recipes if recipe.prior_key is not None}
        files = data.get("train_files")
        rows_of = assumed_rows(rows, scores) if rows else training_rows(files, scores | priors)
    except CurriculumLearningError as error:
        errors.append(error)
    if errors or config is None:
        return None, errors
    quiet = {**data, "sampler": {**data["sampler"], "journal": None}}
    try:
        sampler: samplers.MultiSourceSampler = kind(data_source=rows_of, data_config=quiet)
    except CurriculumLearningError as error:
        return None, [error]
    mixture = sampler.mixture
    sizes = {source.name: source.size for source in mixture.sources}
    if steps is None and isinstance(epochs := trainer.get("total_epochs"), int):
        steps = epochs * len(sampler) // config.batch_size
    caps = config.source_reward_caps
    return Plan("verl", mixture, sizes, config.batch_size, steps, caps, None, {}), []


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collects what the library warns of meanwhile."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, listener = logging.getLogger("curriculum_learning"), Listener(logging.WARNING)
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    logger.handlers, logger.propagate = [listener], False
    logger.setLevel(logging.WARNING)
    try:
        yield messages
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)

"""The plan: a configuration as typed data, in parts that all faces read their keys into.

The fields of a part are its keys; their annotations say what a value must be.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen, Predicate

from curriculum_learning.config.keys import Recipe
from curriculum_learning.config.kinds import Kind
from curriculum_learning.curricula import RowCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.schedules import Constant, Schedule

Text = Annotated[str, MinLen(1), "a text"]
Count = Annotated[int, Ge(1)]
Fade = Annotated[float, Ge(0), Le(1)]
Folder = Annotated[Path, "a folder"]
Function = Annotated[Callable[..., Any], "the dotted path of a function"]
Name = Annotated[
    str, Predicate(re.compile(r"[\w.-]+").fullmatch), "a text of letters, digits and '_.-'"
]

MediaColumns = Annotated[
    Mapping[str, Text],
    Predicate(lambda columns: {"image", "video", "audio"}.issuperset(columns)),
    "a mapping from image, video or audio to a column",
]

LOG_FUNCTION = "curriculum_learning.custom_log.custom_rollout_log_function"
ALL_SAMPLES_FUNCTION = "curriculum_learning.custom_log.process_all_samples"
CAP_FILTER = "curriculum_learning.reward_cap_filter.check_reward_cap_per_source"


@dataclasses.dataclass(frozen=True)
class CurriculumRecipe(Recipe):
    """The curriculum of a source; ``make`` takes its ``SourceRows``."""

    complexity_key: str = "complexity_score"
    """The entry of the metadata, or the column, that holds a row's score."""
    prior_key: str | None = None
    """The entry of the metadata, or the column, that holds an offline pass rate, 0 to 1."""
    fade: float = 0.2
    """The least weight of a new result in the mean of a row."""

    @property
    def curriculum(self) -> type[RowCurriculum]:
        """The class."""
        assert isinstance(self.kind, type)
        return self.kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourcePlan:
    """One source.

    Args:
        name: Name of the source; by default its file's, without the ending.
        path: Prompt files, with a slice if wanted: ``file.jsonl@[a:b]``.
        kind: What it is if it is no files; ``path`` is then what messages call it.
        weight: Weight over the rollout steps.
        input_key: Column of the prompts.
        label_key: Column of the labels.
        metadata_key: Column of the metadata.
        tool_key: Column of the tools.
        multimodal_keys: Columns of pictures and other media, by their kind.
        apply_chat_template: Render prompts with the template of ``hf_checkpoint``.
        apply_chat_template_kwargs: Passed to the template.
        max_prompt_len: In tokens; longer prompts are left out.
        reward_cap: Drops groups of a larger mean reward, where the reward cap filter is set.
        curriculum: Which rows are open.
    """

    name: Text
    path: Text
    kind: Kind | None = None
    weight: Schedule
    input_key: Text = "input"
    label_key: Text | None = None
    metadata_key: Text = "metadata"
    tool_key: Text | None = "tools"
    multimodal_keys: MediaColumns | None = None
    apply_chat_template: bool = False
    apply_chat_template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_prompt_len: Count | None = None
    reward_cap: Schedule | None = None
    curriculum: CurriculumRecipe | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServicePlan:
    """The service for many workers.

    Args:
        name: Name of the actor and of its files.
        namespace: Namespace of the actor; null is that of the job.
        detached: The actor outlives the process that made it.
        max_restarts: How often Ray starts a killed actor again; -1 is always.
        lease_timeout: Seconds without a sign of life after which a client has lost its groups.
        max_leased_groups: Groups of one client; a request beyond that waits.
        draw_timeout: Seconds that a request waits for room.
        prefetch: Groups that a client fetches ahead.
        resume: A new job goes on from the database of a former one.
    """

    name: Name = "curriculum_learning"
    namespace: str | None = None
    detached: bool = False
    max_restarts: Annotated[int, Ge(-1)] = -1
    lease_timeout: Annotated[float, Ge(0.1)] = 60.0
    max_leased_groups: Count = 4096
    draw_timeout: Annotated[float, Ge(0)] = 600.0
    prefetch: Annotated[int, Ge(0)] = 0
    resume: bool = False

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        if self.prefetch > self.max_leased_groups:
            raise ConfigurationError(
                f"prefetch ({self.prefetch}) must be at most max_leased_groups "
                f"({self.max_leased_groups})",
                key="prefetch",
                value=self.prefetch,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSourcePlan:
    """What the data source needs to know.

    Args:
        sources: Empty where the engine brings its own prompts.
        seed: Chooses the orders of rows.
        shuffle: A new order for each epoch; else the order of the file.
        n_samples_per_prompt: Samples per group.
        rollout_batch_size: Groups of a rollout; stands in for the step until the engine tells one.
        num_rollout: Rollouts of the run; schedules are tried at up to 1,000,000 of them.
        hf_checkpoint: The tokenizer.
        trust_remote_code: Runs code that comes with the tokenizer; null is true under slime only.
        dump_details: A folder; the tokenizer is written there too.
        cache: A folder for what is worked out of prompt files; None keeps nothing.
        buffer_filter: ``f(args, rollout_id, buffer, num_samples)`` chooses waiting groups.
        metrics_callback: ``f(metrics, rollout_id)`` takes the metrics, outside of slime.
        log_function: The engine's hook that is told which groups were trained.
        all_samples_function: The engine's hook that is told which groups were finished.
        dynamic_filter: The engine's filter of finished groups, ``f(args, samples)``.
        save: The folder of states.
        load: The folder that states are loaded from; ``save`` if not set.
        on_missing_state: What a resume without a state does.
        autosave: Also write the state at the end of each rollout, if ``save`` is set.
        keep_states: Saved states that are kept, the newest ones; null keeps all.
        on_source_change: Which changes of the mix a resume accepts.
        renamed_from: The former names of sources, by their present ones.
        partial_rollout: The engine gives unfinished groups back.
        surplus: What becomes of finished groups without room; keep with partial rollout.
        max_in_flight_rollouts: Rollouts without news after which a group is not waited for.
        mixture_target: Which groups have the configured shares; trained with both hooks.
        max_oversampling: No source is served more than so many times its share.
        max_staleness: Rollouts since the first token of a group that waits; null is any number.
        on_stale: What becomes of older groups.
        rule: Source rule: how the weights follow steps and results.
        reward_key: The entry that counts where rewards are mappings.
        service: Of ``RemoteDataSource``.
        weights_vary: The shares are not the same at every step.
    """

    sources: tuple[SourcePlan, ...] = ()
    seed: int = 42
    shuffle: bool = False
    n_samples_per_prompt: Count = 1
    rollout_batch_size: Count | None = None
    num_rollout: Annotated[int, Ge(0), Le(10**9)] | None = None
    hf_checkpoint: Text | None = None
    trust_remote_code: bool | None = None
    dump_details: Text | None = None
    cache: Path | None = None
    buffer_filter: Function | None = None
    metrics_callback: Function | None = None
    log_function: Function | None = None
    all_samples_function: Function | None = None
    dynamic_filter: Function | None = None
    save: Folder | None = None
    load: Folder | None = None
    on_missing_state: Literal["error", "restart"] = "error"
    autosave: bool = True
    keep_states: Count | None = None
    on_source_change: Literal["error", "adopt", "restart"] = "error"
    renamed_from: Mapping[str, Text] = dataclasses.field(default_factory=dict)
    partial_rollout: bool = False
    surplus: Literal["keep", "again", "drop"] = "again"
    max_in_flight_rollouts: Count = 8
    mixture_target: Literal["served", "trained"] = "served"
    max_oversampling: Annotated[float, Ge(1), "a finite number >= 1"] = 4
    max_staleness: Annotated[int, Ge(0)] | None = None
    on_stale: Literal["reset", "drop"] = "reset"
    rule: Recipe | None = None
    reward_key: Text | None = None
    service: ServicePlan = ServicePlan()
    weights_vary: bool = False

    @property
    def accounting(self) -> bool:
        """Our log function is set, so it will be told which groups were trained."""
        return path_of(self.log_function) == LOG_FUNCTION


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerPlan:
    """What a sampler needs to know.

    Args:
        batch_size: Rows of a batch.
        seed: Chooses all orders.
        config: A YAML file with the keys of slime's data source, instead of those of each source.
        num_rollout: Updates of the run; schedules are tried at up to 1,000,000 of them.
        sampling_strategy: By ``source_weights``, or by the number of rows.
        source_weights: Weight of each source by the training step; empty is equal weights.
        adaptive_weights: A lower reward gives a higher weight.
        complexity_source: The source that has a curriculum.
        journal: A file that keeps the rewards which a checkpoint was saved too early for.
        mixture_target: Which groups have the configured shares, where the engine reports fates.
        max_oversampling: No source is served more than so many times its share.
        adaptive: The rule for adaptive weights.
        source_rule: Another source rule; null leaves the weights as configured.
        source_curricula: The curricula of sources, by name.
        source_reward_caps: The largest mean reward of a group that is trained, by source.
        curriculum: The curriculum of ``complexity_source``.
    """

    batch_size: Count
    seed: Annotated[int, Ge(0)] = 1
    config: Annotated[str, MinLen(1), "a YAML file"] | None = None
    num_rollout: Annotated[int, Ge(0), Le(10**9)] | None = None
    sampling_strategy: Literal["weighted", "proportional"] = "weighted"
    source_weights: Mapping[str, Schedule] = dataclasses.field(default_factory=dict)
    adaptive_weights: bool = False
    complexity_source: Text = "logicif"
    journal: Annotated[str, MinLen(1), "a file"] | None = None
    mixture_target: Literal["served", "trained"] = "trained"
    max_oversampling: Annotated[float, Ge(1), "a finite number >= 1"] = 4
    adaptive: Recipe = dataclasses.field(default_factory=lambda: Recipe(AdaptiveWeights, {}))
    source_rule: Recipe | None = None
    source_curricula: Mapping[str, CurriculumRecipe] = dataclasses.field(default_factory=dict)
    source_reward_caps: Mapping[str, Schedule] = dataclasses.field(default_factory=dict)
    curriculum: Recipe | None = None

    @property
    def rule(self) -> Recipe | None:
        """The source rule in force."""
        return self.adaptive if self.adaptive_weights else self.source_rule

    def weights(self, sizes: Mapping[str, int]) -> dict[str, Schedule]:
        """The weight of each source of a data set, whose sizes are given in rows.

        Raises:
            ConfigurationError: ``source_weights`` names other sources.
        """
        if self.sampling_strategy == "proportional":
            return {name: Constant(float(size)) for name, size in sizes.items()}
        if not self.source_weights:
            return dict.fromkeys(sizes, Constant(1.0))
        if set(self.source_weights) != set(sizes):
            place = "source_weights" if self.config is None else f"sampler.config {self.config}"
            raise ConfigurationError(
                f"{place} has {sorted(self.source_weights)}, the data has the sources "
                f"{sorted(sizes)}; name each of them, with weight 0 to leave one out",
                key="source_weights" if self.config is None else "sampler.config",
                value=dict(self.source_weights),
            )
        return dict(self.source_weights)


def path_of(function: Callable[..., Any] | None) -> str:
    """The dotted path of a function; ``.`` of None."""
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"

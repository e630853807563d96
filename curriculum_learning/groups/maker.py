"""Groups of samples from rows: fresh ones, and again those that were handed out before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curriculum_learning.groups.in_flight import NO_SOURCE, Served
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.samples.sample import (
    EPOCH_KEY,
    ROW_KEY,
    SOURCE_KEY,
    SOURCE_NAME_KEY,
    STEP_KEY,
    WEIGHT_KEY,
    Group,
    Prompt,
    flatten,
    make_group,
)


class GroupMaker:
    """Reads prompts, makes samples of them, and tags those with their source.

    Args:
        sample_type: What ``sample_class`` gave.
        size: Samples per group.
        prompts: Of each source; without any, samples are empty but for their ids.
        share: The share of a source at a step.
    """

    def __init__(
        self,
        sample_type: type[Any],
        size: int,
        prompts: Mapping[str, Prompts],
        share: Callable[[str, int], float],
    ) -> None:
        self._sample_type = sample_type
        self._size = size
        self._prompts = prompts
        self._share = share

    def make(self, groups: Sequence[tuple[int, Served]]) -> list[Group]:
        """Groups of these ids and rows; the rows of each source are read together.

        Raises:
            DataError: A row cannot be read.
        """
        if not self._prompts:
            return [self._make_empty(group_index, served) for group_index, served in groups]
        places: dict[str, list[int]] = {}
        for place, (_, served) in enumerate(groups):
            places.setdefault(served.source, []).append(place)
        made: list[Group] = [[]] * len(groups)
        for source, at in places.items():
            prompts = self._prompts[source].read([groups[place][1].row for place in at])
            step, share = -1, 0.0
            for place, prompt in zip(at, prompts, strict=True):
                group_index, served = groups[place]
                if served.step != step:  # it is the same for nearly all
                    step, share = served.step, self._share(source, served.step)
                made[place] = self._make(group_index, served, prompt, share)
        return made

    def tag_again(self, group: Group, served: Served) -> None:
        """Bring the tags of a group that is served again up to date, in place."""
        if served.source == NO_SOURCE:
            return
        share = self._share(served.source, served.step)
        for sample in flatten(group):
            sample.metadata[WEIGHT_KEY] = share
            sample.metadata[STEP_KEY] = served.step

    def name_source(self, group: Group, source: str) -> bool:
        """Tag a group with its source, in place; False if it is tagged so already."""
        if source == NO_SOURCE or all(s.metadata[SOURCE_KEY] == source for s in flatten(group)):
            return False
        for sample in flatten(group):
            sample.metadata[SOURCE_KEY] = sample.metadata[SOURCE_NAME_KEY] = source
        return True

    def _make(self, group_index: int, served: Served, prompt: Prompt, share: float) -> Group:
        tags = {
            SOURCE_KEY: served.source,
            SOURCE_NAME_KEY: served.source,
            WEIGHT_KEY: share,
            STEP_KEY: served.step,
            ROW_KEY: served.row,
            EPOCH_KEY: served.epoch,
        }
        indices = range(served.first_index, served.first_index + self._size)
        return make_group(self._sample_type, prompt, tags, group_index, indices)

    def _make_empty(self, group_index: int, served: Served) -> Group:
        return [
            self._sample_type(group_index=group_index, index=served.first_index + position)
            for position in range(self._size)
        ]

"""Makes groups of samples from rows: fresh ones, and served ones that are generated again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.groups.served import NO_SOURCE, Served
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.samples.group import Prompt, make_group
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.samples.tags import (
    EPOCH_KEY,
    ROW_KEY,
    SOURCE_KEY,
    SOURCE_NAME_KEY,
    STEP_KEY,
    WEIGHT_KEY,
)


class GroupMaker:
    """Reads prompts, makes samples of them, and tags the samples with their source.

    Args:
        sample_type: The class of the samples.
        size: Samples per group.
        prompts: The prompts by source. Without any, samples have ids and nothing else.
        mixture: Gives the shares that samples are tagged with; None without prompts.
    """

    def __init__(
        self,
        sample_type: type[Any],
        size: int,
        prompts: Mapping[str, Prompts],
        mixture: Mixture | None,
    ) -> None:
        self.sample_type = sample_type
        self.size = size
        self.sources = tuple(prompts) or (NO_SOURCE,)
        """The sources that groups can be of."""
        self._prompts = prompts
        self._mixture = mixture

    def make(self, groups: Sequence[tuple[int, Served]]) -> list[Group]:
        """Makes groups with the given ids from their rows.

        It reads all rows of a source together.

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
                if served.step != step:  # nearly all share one step
                    step, share = served.step, self._share(served)
                made[place] = self._make(group_index, served, prompt, share)
        return made

    def tag_again(self, group: Group, served: Served) -> None:
        """Tags, in place, a group that is served again; its metadata may have been cleared."""
        if served.source == NO_SOURCE:
            return
        tags = _tags(served, self._share(served))
        for sample in flatten(group):
            if not isinstance(sample.metadata, dict):
                sample.metadata = {}
            sample.metadata.update(tags)

    def name_source(self, group: Group, source: str) -> None:
        """Tags a group from a state with its source, in place: the source may have been renamed."""
        for sample in flatten(group):
            if source != NO_SOURCE and isinstance(sample.metadata, dict):
                sample.metadata[SOURCE_KEY] = sample.metadata[SOURCE_NAME_KEY] = source

    def _share(self, served: Served) -> float:
        assert self._mixture is not None
        return self._mixture.shares(served.step)[served.source]

    def _make(self, group_index: int, served: Served, prompt: Prompt, share: float) -> Group:
        tags = _tags(served, share)
        indices = range(served.first_index, served.first_index + self.size)
        return make_group(self.sample_type, prompt, tags, group_index, indices)

    def _make_empty(self, group_index: int, served: Served) -> Group:
        return [
            self.sample_type(group_index=group_index, index=served.first_index + position)
            for position in range(self.size)
        ]


def _tags(served: Served, share: float) -> dict[str, Any]:
    return {
        SOURCE_KEY: served.source,
        SOURCE_NAME_KEY: served.source,
        WEIGHT_KEY: share,
        STEP_KEY: served.step,
        ROW_KEY: served.row,
        EPOCH_KEY: served.epoch,
    }

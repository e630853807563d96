"""Random runs with both hooks, held against a plain account of every group."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.groups.books import SIZES, WEIGHTS, Account, Books, contents, id_of
from tests.harness import Group

LOG = "curriculum_learning.custom_log.custom_rollout_log_function"
BOTH_HOOKS = {
    "custom_rollout_log_function_path": LOG,
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "tests.engine.keeps",
    "drop": 0.3,
    "mixture_target": "served",
}
FATES = ("trained", "refused", "surplus", "back", "lost")


class BothHooks(Books):
    """Synchronous rollouts with both hooks: at the end every group is settled."""

    @initialize(sizes=SIZES, weights=WEIGHTS, surplus=st.sampled_from(["keep", "again", "drop"]))
    def start(self, sizes: dict[str, int], weights: dict[str, int], surplus: str) -> None:
        """A run begins."""
        self.surplus = surplus
        self.ended: Account | None = None
        """The account at the end of the last rollout since the resume."""
        self.open(sizes, weights, surplus=surplus, autosave=False, **BOTH_HOOKS)

    @rule(fates=st.lists(st.sampled_from(FATES)), back_first=st.booleans())
    def rollout(self, fates: list[str], back_first: bool) -> None:
        """At the end of a rollout nothing is in flight."""
        account = self.account
        groups = self.serve(len(fates), tokens=2)
        by_fate: dict[str, list[Group]] = {fate: [] for fate in FATES}
        for group, fate in zip(groups, fates, strict=True):
            by_fate[fate].append(group)
            if fate in ("trained", "refused", "surplus"):
                for sample in group:
                    sample.status = type(sample).Status.COMPLETED
                    sample.reward = 0.1 if fate == "refused" else 0.9
        trained, refused, surplus, back, lost = by_fate.values()
        if back_first:
            self.source.add_samples(back)
        self.source.rollout_finished([*surplus, *trained, *refused])
        if not back_first:
            self.source.add_samples(back)
        self.source.observe(trained, rollout_id=account.step, fate="trained")
        for group in back:
            account.take_back(id_of(group), contents(group))
        account.settle([id_of(group) for group in trained], "trained")
        account.settle([id_of(group) for group in refused], "dropped")
        for group in sorted(surplus, key=id_of):
            if self.surplus == "drop":
                account.settle([id_of(group)], "dropped")
            else:
                account.counts["surplus"] += 1
                account.take_back(id_of(group), contents(group) if self.surplus == "keep" else None)
        for group_index in sorted(map(id_of, lost)):
            account.take_back(group_index, account.in_flight[group_index].begun)
        assert not account.in_flight
        account.step += 1
        self.ended = account.copy()

    @precondition(lambda self: self.ended is not None)
    @rule(ahead=st.integers(0, 5))
    def resume(self, ahead: int) -> None:
        """The run resumes from the end of a rollout, although the next one has begun."""
        self.serve(ahead)
        self.source.save(self.account.step - 1)
        self.reopen(self.weights)
        self.source.load(self.account.step - 1)
        assert self.ended is not None
        self.account, self.ended = self.ended, None


TestBothHooks = BothHooks.TestCase
TestBothHooks.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, derandomize=True
)

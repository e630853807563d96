"""An environment of verifiers: sums of small numbers, in one question and one answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import verifiers.v1 as vf
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

__all__ = ["SumsHarness", "SumsTaskset"]


class SumsData(vf.TaskData):
    """A sum, its answer, and how many numbers it has."""

    answer: str
    terms: int


class SumsTask(vf.Task[SumsData]):
    """Rewards the right number."""

    @vf.reward
    async def correct(self, trace: vf.Trace) -> float:
        """1 if the answer is right, else 0."""
        return float(trace.last_reply == self.data.answer)


class SumsConfig(vf.TasksetConfig):
    """The settings of the task set."""

    tasks: int = 40
    most_terms: int = 4
    seed: int = 0


class SumsTaskset(vf.Taskset[SumsTask, SumsConfig]):
    """Sums of 2 to ``most_terms`` numbers."""

    def load(self) -> Iterator[SumsTask]:
        """Yields the tasks."""
        source = random.Random(self.config.seed)
        for number in range(self.config.tasks):
            terms = 2 + number % (self.config.most_terms - 1)
            numbers = [source.randrange(10) for _ in range(terms)]
            data = SumsData(
                prompt=f"{' + '.join(map(str, numbers))} = ?",
                system_prompt="Answer with a number.",
                answer=str(sum(numbers)),
                terms=terms,
            )
            yield SumsTask(data, self.config.task)


class SumsHarness(vf.Harness[vf.HarnessConfig]):
    """Asks the model once. The request goes through verifiers, which records it."""

    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """Runs one rollout."""
        system, prompt = self.resolve_text_prompt(data)
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": system or ""},
            {"role": "user", "content": prompt or ""},
        ]
        async with AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=0) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")

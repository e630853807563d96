"""How the texts of a task become tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PAD, END, QUESTION = range(3)
_FIRST_CHARACTER = 3


@dataclass(frozen=True)
class Text:
    """The characters of a task's questions and answers, one token each.

    Args:
        characters: All that may occur; upper and lower case are one.
        longest_question: The most characters of a question, without ``beginning``.
        longest_answer: The most tokens of an answer, its END included.
        beginning: The text that all questions begin with; it becomes one token.
    """

    characters: str
    longest_question: int
    longest_answer: int
    beginning: str = ""

    @property
    def vocabulary(self) -> int:
        """The number of different tokens."""
        return _FIRST_CHARACTER + len(self.characters)

    @property
    def longest_prompt(self) -> int:
        """Tokens; prompts are padded to it on the left, so all answers start in one column."""
        return 1 + self.longest_question

    @property
    def columns(self) -> int:
        """Tokens of a prompt and an answer."""
        return self.longest_prompt + self.longest_answer

    def encode_question(self, question: str) -> list[int]:
        """Returns the tokens of a question."""
        if not question.startswith(self.beginning):
            raise ValueError(f"{question!r} does not start with {self.beginning!r}")
        return [QUESTION, *self.encode(question.removeprefix(self.beginning))]

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text."""
        return [_FIRST_CHARACTER + self.characters.index(c) for c in text.lower()]

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of an answer up to its END; tokens without a character are '?'."""
        found = []
        for token in tokens:
            if token == END:
                break
            place = token - _FIRST_CHARACTER
            found.append(self.characters[place] if place >= 0 else "?")
        return "".join(found)

    def pack(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Tensor:
        """Returns [rows, longest_prompt + longest answer]: PAD, prompt, answer, PAD."""
        length = max(map(len, answers), default=0)
        return torch.tensor(
            [
                [PAD] * (self.longest_prompt - len(prompt))
                + [*prompt, *answer]
                + [PAD] * (length - len(answer))
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
        )

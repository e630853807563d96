"""The policy: a character language model with 0.4 million parameters."""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

QUESTION_TEXT = "Spell this word backward (example: sun -> nus): "

PAD, END, QUESTION = range(3)
_CHARACTERS = string.ascii_lowercase
_FIRST_CHARACTER = 3
VOCABULARY = _FIRST_CHARACTER + len(_CHARACTERS)

LONGEST_PROMPT = 11
"""Tokens: one for the text that all questions begin with, and up to ten letters."""
LONGEST_ANSWER = 12
"""Tokens: up to ten letters and END, and one to go wrong with."""
COLUMNS = LONGEST_PROMPT + LONGEST_ANSWER
"""Prompts are padded on the left, so every answer starts in the same column."""

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [rows, COLUMNS, heads, head width]."""


def encode_question(question: str) -> list[int]:
    """The tokens of a question; upper and lower case are one."""
    if not question.startswith(QUESTION_TEXT):
        raise ValueError(f"{question!r} does not start with {QUESTION_TEXT!r}")
    return [QUESTION, *encode(question.removeprefix(QUESTION_TEXT))]


def encode(text: str) -> list[int]:
    """The tokens of letters."""
    return [_FIRST_CHARACTER + _CHARACTERS.index(character) for character in text.lower()]


def decode(tokens: Sequence[int]) -> str:
    """The text of an answer up to its END; a token that is no letter shows as '?'."""
    letters = []
    for token in tokens:
        if token == END:
            break
        letter = token - _FIRST_CHARACTER
        letters.append(_CHARACTERS[letter] if letter >= 0 else "?")
    return "".join(letters)


def pack(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Tensor:
    """Rows of tokens, [rows, LONGEST_PROMPT + longest answer]: PAD, prompt, answer, PAD."""
    length = max(map(len, answers), default=0)
    return torch.tensor(
        [
            [PAD] * (LONGEST_PROMPT - len(prompt))
            + [*prompt, *answer]
            + [PAD] * (length - len(answer))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
    )


class Policy(nn.Module):
    """A transformer decoder with learned positions.

    Build it with ``new_policy``.
    """

    def __init__(self, width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(COLUMNS, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of every answer token given all before it.

        Args:
            rows: What ``pack`` gave for non-empty answers, [rows, columns].

        Returns:
            [rows, longest answer, VOCABULARY]; those of padding mean nothing.
        """
        columns = torch.arange(rows.shape[1])
        hidden = self._hidden(rows, columns, _visible(rows), None)
        return self._logits(hidden[:, LONGEST_PROMPT - 1 : -1])

    def prefill(self, rows: Tensor, ends: Tensor) -> tuple[Tensor, Cache]:
        """Begin to generate.

        Args:
            rows: What ``pack`` gave for the answers so far (they may be empty), [rows, columns].
            ends: The column of each row's last token, [rows].

        Returns:
            Logits of each row's next token, [rows, VOCABULARY], and the cache for ``step``.
        """
        # The samples of a group begin alike: what is the same is computed once.
        unique, copy = torch.unique(rows, dim=0, return_inverse=True)
        shape = (len(unique), COLUMNS, self.heads, self.head_width)
        cache: Cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in self.layers]
        columns = torch.arange(rows.shape[1])
        hidden = self._hidden(unique, columns, _visible(unique), cache)
        cache = [(keys[copy], values[copy]) for keys, values in cache]
        return self._logits(hidden[copy, ends]), cache

    def step(self, tokens: Tensor, columns: Tensor, first: Tensor, cache: Cache) -> Tensor:
        """Take one more token per row.

        Args:
            tokens: [rows].
            columns: Where each of them goes, [rows].
            first: The first column of each row that is not padding, [rows].
            cache: Of the same rows; the new tokens are added to it.

        Returns:
            Logits of each row's next token, [rows, VOCABULARY].
        """
        keys = torch.arange(COLUMNS)
        visible = (keys >= first[:, None]) & (keys <= columns[:, None])
        hidden = self._hidden(tokens[:, None], columns[:, None], visible[:, None], cache)
        return self._logits(hidden[:, 0])

    def _hidden(
        self, tokens: Tensor, columns: Tensor, visible: Tensor, cache: Cache | None
    ) -> Tensor:
        hidden: Tensor = self.token(tokens) + self.position(columns)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, columns, visible[:, None], cache[index] if cache else None)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(hidden))
        return logits


def new_policy(seed: int) -> Policy:
    """A policy with random weights; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Policy()


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_inner = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 4 * width)
        self.inner_out = nn.Linear(4 * width, width)

    def forward(
        self,
        hidden: Tensor,
        columns: Tensor,
        visible: Tensor,
        cached: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        rows, length, width = hidden.shape
        mixed = self.query_key_value(self.norm_attention(hidden))
        query, key, value = mixed.view(rows, length, 3, self.heads, -1).unbind(2)
        if cached is not None:
            row = torch.arange(rows)[:, None]
            cached[0][row, columns] = key
            cached[1][row, columns] = value
            key, value = (part[:, : visible.shape[-1]] for part in cached)
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), visible
        )
        hidden = hidden + self.attention_out(attended.transpose(1, 2).reshape(rows, length, width))
        inner = functional.gelu(self.inner(self.norm_inner(hidden)))
        output: Tensor = hidden + self.inner_out(inner)
        return output


def _visible(rows: Tensor) -> Tensor:
    """Which columns each column sees, [rows, columns, columns]: from the prompt's first to itself.

    Padding on the right is behind everything, and a PAD within an answer is a token like others.
    """
    length = rows.shape[1]
    columns = torch.arange(length)
    first = (rows != PAD).int().argmax(1)
    earlier = columns <= columns[:, None]
    # Padding sees itself, since a softmax over nothing is not a number.
    visible: Tensor = (earlier & (columns >= first[:, None, None])) | (columns == columns[:, None])
    return visible

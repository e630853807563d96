"""The policy: a character language model, a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.spelling.tokens import PAD, Text

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [rows, columns, heads, head width]."""


class Policy(nn.Module):
    """A transformer decoder with learned positions.

    Build it with ``new_policy``.

    Args:
        text: The texts that it reads and writes.
        width: Of the hidden vectors; 128 make 0.4 million parameters.
    """

    def __init__(self, text: Text, width: int, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.text = text
        self.heads = heads
        self.head_width = width // heads
        self.token = nn.Embedding(text.vocabulary, width)
        self.position = nn.Embedding(text.columns, width)
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, text.vocabulary, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of every answer token given all before it.

        Args:
            rows: What ``pack`` gave for non-empty answers, [rows, columns].

        Returns:
            [rows, longest answer, vocabulary]; those of padding mean nothing.
        """
        columns = torch.arange(rows.shape[1])
        hidden = self._hidden(rows, columns, _visible(rows), None)
        return self._logits(hidden[:, self.text.longest_prompt - 1 : -1])

    def prefill(self, rows: Tensor, ends: Tensor) -> tuple[Tensor, Cache]:
        """Begin to generate.

        Args:
            rows: What ``pack`` gave for the answers so far (they may be empty), [rows, columns].
            ends: The column of each row's last token, [rows].

        Returns:
            Logits of each row's next token, [rows, vocabulary], and the cache for ``step``.
        """
        # The samples of a group begin alike: what is the same is computed once.
        unique, copy = torch.unique(rows, dim=0, return_inverse=True)
        shape = (len(unique), self.text.columns, self.heads, self.head_width)
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
            Logits of each row's next token, [rows, vocabulary].
        """
        keys = torch.arange(self.text.columns)
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


def new_policy(text: Text, width: int, seed: int) -> Policy:
    """A policy with random weights; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Policy(text, width)


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

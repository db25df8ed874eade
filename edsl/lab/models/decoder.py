"""A decoder in the manner of GPT-2 (Radford et al. 2019), small enough to be read."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import gelu, scaled_dot_product_attention


class Decoder(nn.Module):
    """Predicts each next token: norm before, learned positions, a head tied to the embedding.

    With V tokens, length L, width w and depth d it has (V + L) w + d (12 w² + 13 w) + 2 w parameters.

    Args:
        fused: attention by a fused kernel, which torch can't differentiate twice on a CPU; without
            it, as `hutchinson` needs, by plain products.
        experts: 0, or how many stand in each block in the place of one MLP, see `Experts`.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        fused: bool = False,
        experts: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, fused, experts) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:  # as GPT-2: what adds to the residual stream is smaller by its depth
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * depth) if name.endswith("out.weight") else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """(rows, length) of whole numbers → (rows, length, vocabulary), the logits of each next token."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.embedding.weight.T


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, fused: bool, experts: int = 0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, fused)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Experts(width, experts) if experts else Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Each place looks at itself and those before it."""

    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.heads = heads
        self.fused = fused
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, length, width) → the same shape."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        with self._kernel():
            seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _kernel(self) -> Any:
        return nullcontext() if self.fused else sdpa_kernel(SDPBackend.MATH)


class Mlp(nn.Module):
    """width → 4 width → width with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(gelu(self.inner(x)))


class Experts(nn.Module):
    """A sparse mixture: each token goes to the two MLPs that a router prefers, weighted by its shares of the two.

    It adds to a block's MLP of 8 w² + 5 w parameters as many for each further expert, and w for each in the router.
    No loss keeps the experts equally busy, so that some may starve in long training.

    Source: Shazeer et al. 2017; Jiang et al. 2024, section 2.1.
    """

    CHOSEN = 2

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(Mlp(width) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, length, width) → the same shape."""
        tokens = x.flatten(0, 1)
        preferred, chosen = self.router(tokens).topk(self.CHOSEN)
        shares = preferred.softmax(-1)
        mixed = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            token, place = (chosen == number).nonzero(as_tuple=True)
            mixed = mixed.index_add(0, token, shares[token, place, None] * expert(tokens[token]))
        return mixed.view_as(x)

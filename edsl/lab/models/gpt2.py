"""GPT-2 (Radford et al. 2019) as transformers builds it, its weights drawn anew."""

from __future__ import annotations

from typing import Any

from edsl.errors import EdslError

LENGTH = 1024  # tokens it can look back on


def gpt2(vocabulary: int, width: int = 768, depth: int = 12) -> Any:
    """A model from rows of tokens (rows, length) to logits (rows, length, vocabulary), without dropout.

    With 50,257 tokens 124,439,808 parameters as it stands, 354,823,168 at 1024 wide and 24 deep; each
    head is 64 wide, and the output's weight is the embedding's.

    Raises:
        EdslError: without transformers.
    """
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        raise EdslError("GPT-2 needs the package transformers: pip install 'edsl-optim[data]'") from None

    class Gpt2(GPT2LMHeadModel):
        """Its logits alone, for a loss that is the task's."""

        def forward(self, tokens: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(tokens).logits

    return Gpt2(
        GPT2Config(
            vocab_size=vocabulary,
            n_positions=LENGTH,
            n_embd=width,
            n_layer=depth,
            n_head=width // 64,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=vocabulary - 1,
            eos_token_id=vocabulary - 1,
        )
    )

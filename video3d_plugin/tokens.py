"""Tokens with a meaning of their own, and text in which they have none.

Only a format gives one of these tokens its meaning: the `<image>` that leads a prompt, a `<coord>` for each point that
comes with it, and `<ground>` as the whole answer of a grounding item. In text of users and files they are letters; see
`video3d_plugin.model.text_ids`.
"""

from __future__ import annotations

import re

IMAGE_TOKEN = "<image>"  # stands for the scene; LLaVA-NeXT's placeholder
GROUND_TOKEN = "<ground>"  # the answer whose hidden state is scored against the proposals
COORD_TOKEN = "<coord>"  # stands for a point
SPATIAL_TOKENS = (IMAGE_TOKEN, GROUND_TOKEN, COORD_TOKEN)

CHAT_START, CHAT_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"  # Qwen2's chat marks

_MARKUP = re.compile(r"<(?=[|/]?\w{1,40}[|/]?>)|\[(?=/?[A-Z]{2,20}\])")


def disarm(text: str) -> str:
    """`text` with a space inside whatever reads as a special token: `<image>` becomes `< image>`.

    For prompts of other models: their own code turns text into ids, and what it takes for a token is its affair.
    """
    return _MARKUP.sub(lambda match: f"{match[0]} ", text)

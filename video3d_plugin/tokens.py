"""The special tokens.

They are special only where the format puts them: the <image> that leads a prompt, a <coord> for each point that comes
with it, and <ground> as the whole answer of a grounding item. In text of users and files they are plain text; see
`video3d_plugin.model.text_ids`.
"""

from __future__ import annotations

import re

IMAGE_TOKEN = "<image>"  # LLaVA-NeXT's placeholder of the scene
GROUND_TOKEN = "<ground>"  # its hidden state is scored against the proposals
COORD_TOKEN = "<coord>"  # placeholder of a point
SPATIAL_TOKENS = (IMAGE_TOKEN, GROUND_TOKEN, COORD_TOKEN)

CHAT_START, CHAT_END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"  # Qwen2's chat marks

_MARKUP = re.compile(r"<(?=[|/]?\w{1,40}[|/]?>)|\[(?=/?[A-Z]{2,20}\])")


def disarm(text: str) -> str:
    """Break special tokens in a text by a space: `<image>` becomes `< image>`.

    For prompts of other models, whose own code tokenizes them.
    """
    return _MARKUP.sub(lambda match: f"{match[0]} ", text)

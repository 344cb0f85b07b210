"""How answers are generated: the `generation_kwargs` of a task and `--gen_kwargs`, checked; and lmms-eval's options
that this model does not have.

An option that has no effect here is refused, so that no number is reported under settings that were not used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from video3d_plugin.errors import Video3DError
from video3d_plugin.scene import Question

MAX_NEW_TOKENS = 512
# What lmms-eval sets where a task has no `until`. The model ends its answers itself, with its end token.
DEFAULT_UNTIL = ("\n\n",)
_KNOWN = ("max_new_tokens", "temperature", "do_sample", "top_p", "top_k", "num_beams", "until")


@dataclass(frozen=True, order=True)
class Generation:
    """How the answer to a text question is generated. Grounding questions are answered with scores, not generated.

    Attributes:
        max_new_tokens: Length of the answer at most, in tokens.
        temperature: Divides the logits when sampling; 0 for greedy decoding.
        top_p: Samples from the most probable tokens that together reach this probability.
        top_k: Samples from this many tokens; 0 for all.
        until: Texts before the first of which the answer ends.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    until: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Generation:
        """Check the options of a request.

        Args:
            given: `generation_kwargs` of the task with those of --gen_kwargs; values that are None are left out.

        Raises:
            Video3DError: An option is not known, has a value that is not allowed, or would have no effect.
        """
        given = {name: value for name, value in (given or {}).items() if value is not None}
        for name in given:
            if name not in _KNOWN:
                raise Video3DError(f"--gen_kwargs {name} is not known to video3d (known: {', '.join(_KNOWN)})")
        if (beams := _number("num_beams", given.get("num_beams", 1), 1, whole=True)) != 1:
            raise Video3DError(f"--gen_kwargs num_beams={beams}: video3d has no beam search (use num_beams=1)")
        temperature = _number("temperature", given.get("temperature", 0), 0, 1e6)
        do_sample = given.get("do_sample", False)
        if not isinstance(do_sample, bool):
            raise Video3DError(f"--gen_kwargs do_sample={do_sample} is neither true nor false")
        if do_sample and not temperature:
            raise Video3DError("--gen_kwargs do_sample=true needs a temperature above 0 (such as temperature=0.7)")
        top_p = _number("top_p", given.get("top_p", 1), 1e-6, 1)
        top_k = _number("top_k", given.get("top_k", 0), 0, whole=True)
        if not temperature and (top_p < 1 or top_k):
            name, value = ("top_p", top_p) if top_p < 1 else ("top_k", top_k)
            raise Video3DError(f"--gen_kwargs {name}={value} has no effect without sampling (give temperature=...)")
        limit = _number("max_new_tokens", given.get("max_new_tokens", MAX_NEW_TOKENS), 1, 1 << 20, whole=True)
        return cls(int(limit), temperature, top_p, int(top_k), _until(given.get("until")))

    def sampling(self, questions: Sequence[Question], repetition: int, device: Any) -> dict[str, Any]:
        """Return the arguments of `Video3D.answer` for sampling; {} for greedy decoding.

        Args:
            questions: The questions of a batch. The random state follows from them and from torch's seed (lmms-eval's
                --seed), so that it does not depend on the number of ranks or on other questions.
            repetition: How many times the questions were asked before (lmms-eval's --repeats).
            device: The model's torch device.
        """
        if not self.temperature:
            return {}
        import torch

        ids = "\n".join(f"{question.task} {question.scene_id} {question.item_id}" for question in questions)
        digest = hashlib.sha256(f"{torch.initial_seed()} {repetition}\n{ids}".encode("utf-8", "replace")).digest()
        generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
        return {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "generator": generator,
        }

    def ended(self, answer: str) -> str:
        """Return an answer up to the first of the texts of `until`, without outer spaces."""
        ends = [place for text in self.until if (place := answer.find(text)) >= 0]
        return answer[: min(ends)].strip() if ends else answer


def check_run(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of an evaluation of this model, before anything is loaded.

    Args:
        arguments: Keyword arguments of lmms-eval's `simple_evaluate`.

    Raises:
        Video3DError: One of them has no effect on this model, or a value that is not allowed.
    """
    own = "leave it out: video3d asks each question in the form of its training"
    if arguments.get("apply_chat_template"):
        raise Video3DError(f"--apply_chat_template: the model's own template is always in use ({own})")
    if arguments.get("system_instruction"):
        raise Video3DError(f"--system_instruction: the system message is the checkpoint's ({own})")
    if arguments.get("num_fewshot"):
        raise Video3DError(f"--num_fewshot {arguments['num_fewshot']}: there are no examples before a question ({own})")
    given = arguments.get("gen_kwargs")
    if isinstance(given, str) and given:
        from lmms_eval.utils import simple_parse_args_string

        try:
            given = simple_parse_args_string(given)
        except ValueError:
            raise Video3DError(f"--gen_kwargs {given!r:.80} is not of the form name=value,name=value") from None
    if given:
        Generation.of(given)


def _number(name: str, value: Any, low: float, high: float = 1 << 30, *, whole: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    fits = not isinstance(value, bool) and low <= number <= high and (not whole or number == int(number))
    if not fits:
        kind = "a whole number" if whole else "a number"
        raise Video3DError(f"--gen_kwargs {name}={value} is not {kind} from {low:g} to {high:g}")
    return int(number) if whole else number


def _until(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(text, str) and text for text in texts):
        raise Video3DError(f"--gen_kwargs until={value!r:.80} is not a text or a list of texts")
    return () if texts == DEFAULT_UNTIL else texts

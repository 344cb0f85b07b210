"""vLLM in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from video3d_plugin.engine.base import Decoding, Generated
from video3d_plugin.errors import DataError, MissingError

# Set by this module, or code of strangers.
_RESERVED = (
    "model", "tokenizer", "enable_prompt_embeds", "runner", "convert", "pooler_config", "trust_remote_code",
)  # fmt: skip


def start(folder: str | Path, dtype: torch.dtype | str, options: Mapping[str, Any], **fixed: Any) -> Any:
    """Start vLLM's `LLM` on a folder that `video3d export --format vllm` wrote.

    Args:
        folder: The folder.
        dtype: Number format of the weights.
        options: Engine arguments of vLLM, such as `tensor_parallel_size`, `gpu_memory_utilization`, `max_model_len`.
        **fixed: Engine arguments that `options` cannot change.

    Raises:
        MissingError: vLLM is not installed, or there is no such folder.
        DataError: The folder is not an exported one, or an option is reserved.
    """
    path = Path(folder).expanduser()
    check_options(options)
    check_exported(path)
    arguments = {"dtype": str(dtype).removeprefix("torch."), "enable_prefix_caching": True, "seed": 0, **options}
    return _vllm().LLM(model=str(path), enable_prompt_embeds=True, **arguments, **fixed)


def _vllm() -> Any:
    """Import vLLM."""
    try:
        import vllm
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise MissingError(
            "vllm is not installed", remedy="install it in this environment, or name a server with engine_url"
        ) from error
    return vllm


class VllmInProcess:
    """vLLM as an `Engine`; the arguments are those of `start`."""

    def __init__(self, folder: str | Path, dtype: torch.dtype | str = torch.float32, **options: Any):
        self.llm = start(folder, dtype, options)
        self.name = f"vLLM on {Path(folder).name}"
        self.longest = int(self.llm.llm_engine.model_config.max_model_len)

    def generate(self, prompts: Sequence[torch.Tensor], decoding: Decoding) -> list[Generated]:
        """Continue prompts; see `Engine.generate`."""
        parameters = [
            _vllm().SamplingParams(
                max_tokens=decoding.max_new_tokens,
                stop_token_ids=list(decoding.stop_ids),
                ignore_eos=not decoding.stop_ids,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                top_k=decoding.top_k,
                seed=decoding.seed + index if decoding.temperature else None,
                logprobs=0,
                detokenize=False,
            )
            for index in range(len(prompts))
        ]
        made = self.llm.generate([{"prompt_embeds": prompt} for prompt in prompts], parameters, use_tqdm=False)
        return [_generated(request.outputs[0]) for request in made]

    def close(self) -> None:
        """Stop the engine's processes."""
        self.llm.llm_engine.engine_core.shutdown()


class VllmStates:
    """vLLM's pooling interface as a `StateEngine`; the arguments are those of `start`.

    A pooling engine generates no text, so it is an engine of its own, with weights of its own.
    """

    def __init__(self, folder: str | Path, dtype: torch.dtype | str = torch.float32, **options: Any):
        pooler = _vllm().config.PoolerConfig(
            seq_pooling_type="LAST", use_activation=False
        )  # the last state, not normalised
        self.llm = start(folder, dtype, options, runner="pooling", convert="embed", pooler_config=pooler)

    def last_states(self, prompts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the last hidden state of each prompt; see `StateEngine.last_states`."""
        asked = [{"prompt_embeds": prompt} for prompt in prompts]
        made = self.llm.encode(asked, pooling_task="embed", use_tqdm=False)
        return torch.stack([torch.as_tensor(one.outputs.data).float() for one in made])

    def close(self) -> None:
        """Stop the engine's processes."""
        self.llm.llm_engine.engine_core.shutdown()


def _generated(output: Any) -> Generated:
    ids = [int(token) for token in output.token_ids]
    return Generated(ids, [float(step[token].logprob) for token, step in zip(ids, output.logprobs, strict=True)])


def check_options(options: Mapping[str, Any]) -> None:
    """Raise DataError if options of the engine hold one that this package sets itself or never allows."""
    for name in _RESERVED:
        if name in options:
            raise DataError(f"the engine's option {name} is not yours to set", remedy="leave it out")


def check_exported(folder: Path) -> None:
    """Raise unless a folder is one that `video3d export --format vllm` wrote.

    Raises:
        MissingError: There is no config.json.
        DataError: It is that of another model.
    """
    from video3d_plugin.files.json import read_object

    remedy = "write it with `video3d export CHECKPOINT --format vllm --output FOLDER`"
    if not (folder / "config.json").is_file():
        raise MissingError("no config.json there", where=folder, remedy=remedy)
    content = read_object(folder / "config.json", remedy)
    if content.get("model_type") != "qwen2" or "auto_map" in content:
        raise DataError(
            f"not a plain Qwen2 folder but {str(content.get('model_type')):.40}", where=folder, remedy=remedy
        )

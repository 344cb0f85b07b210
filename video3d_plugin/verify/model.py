"""Goldens of the model, `model/<case>/`: losses, logits, tokens, scores, proposal features, input embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from video3d_plugin.errors import MissingError
from video3d_plugin.verify import CaseResult, recipe

# Absolute limits by number format: agreement in float32 and float64; the others allow for rounding, as measured.
LIMITS = {"float32": 1e-4, "float64": 1e-4, "bfloat16": 0.5, "float16": 0.1}


def verify(
    folder: Path, *, device: str = "cpu", dtype: str = "float32", attention: str = "sdpa"
) -> Iterator[CaseResult]:
    """Recompute the goldens of the model.

    Args:
        folder: Folder of case folders.
        device: Device of the model.
        dtype: Number format of the model, a key of LIMITS.
        attention: Attention implementation of transformers.

    Yields:
        A result for each case folder: the largest difference over all values of its golden.
    """
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        differences = compare(case, device=device, dtype=dtype, attention=attention)
        yield CaseResult.of_differences("model", case.name, differences, LIMITS[dtype])


def compare(case: Path, *, device: str, dtype: str, attention: str) -> dict[str, float]:
    """Recompute one case and compare.

    Args:
        case: Case folder: config.json, params.json, golden.safetensors.
        device: Device of the model.
        dtype: Number format of the model. Tokens are compared in float32 and float64 only.
        attention: Attention implementation of transformers.

    Returns:
        Largest absolute difference by golden name; infinite for other shapes or tokens.

    Raises:
        MissingError: If the golden file is missing, or has a name that is not computed.
    """
    from safetensors.torch import load_file

    path = case / "golden.safetensors"
    if not path.is_file():
        raise MissingError("golden.safetensors is missing", where=path, remedy="copy the whole case folder")
    golden = load_file(str(path))
    computed = compute(case, device=device, dtype=dtype, attention=attention)
    missing = sorted(set(golden) - set(computed))
    if missing:
        raise MissingError(f"the golden has entries that are not computed: {', '.join(missing)}", where=path)
    if dtype not in ("float32", "float64"):
        golden = {name: value for name, value in golden.items() if not name.endswith(".greedy")}
    return {name: _difference(name, computed[name], value) for name, value in golden.items()}


@torch.no_grad()
def compute(case: Path, *, device: str, dtype: str, attention: str) -> dict[str, torch.Tensor]:
    """Compute all values of a golden.

    Args:
        case: Case folder: config.json, params.json.
        device: Device of the model.
        dtype: Number format of the model.
        attention: Attention implementation of transformers.

    Returns:
        Tensors on the CPU by golden name.
    """
    model = recipe.model(case, device=device, dtype=dtype, attention=attention)
    scene = recipe.scene(model.config.inputs_spec)
    scene["pixels"] = scene["pixels"].to(model.dtype)
    result: dict[str, torch.Tensor] = {}
    for kind in ("text", "coord"):
        result.update(_text_item(model, scene, kind))
    result.update(_ground_items(model, scene))
    return {name: value.cpu() for name, value in result.items()}


def _text_item(model, scene, kind: str) -> dict[str, torch.Tensor]:
    ids, labels = (part.to(model.device) for part in recipe.item(kind))
    coords = torch.tensor([recipe.COORD]) if kind == "coord" else None
    output = model(input_ids=ids, labels=labels, scenes=[scene], coords=coords)
    after = int((ids[0] == recipe.IMAGE_ID).nonzero()[0]) + 1
    answer = int((labels[0] != recipe.IGNORE).sum())
    greedy = model.generate(
        input_ids=ids[:, :-answer],
        scenes=[scene],
        coords=coords,
        do_sample=False,
        max_new_tokens=recipe.GREEDY_TOKENS,
        pad_token_id=0,
    )
    return {
        f"{kind}.loss": output.loss.reshape(1),
        f"{kind}.logits_tail": output.logits[0, after - ids.shape[1] :],
        f"{kind}.seq_len": torch.tensor([output.logits.shape[1]]),
        f"{kind}.greedy": greedy,
    }


def _ground_items(model, scene) -> dict[str, torch.Tensor]:
    from video3d_plugin.model.scene_tokens import encode_scene_tokens

    ids, labels = (part.to(model.device) for part in recipe.item("ground"))
    result = {}
    for name, targets in recipe.TARGETS.items():
        output = model(input_ids=ids, labels=labels, scenes=[scene], targets=[torch.tensor(targets).long()])
        result[f"ground.loss_{name}"] = output.loss.reshape(1)
    tokens = encode_scene_tokens(model, scene)
    rows, _ = model.assemble(ids, [tokens])
    return {
        **result,
        "ground.scores": output.ground_scores[0],
        "ground.object_features": tokens.proposals,
        "ground.inputs_embeds": rows.embeds,
    }


def _difference(name: str, computed: torch.Tensor, golden: torch.Tensor) -> float:
    if computed.shape != golden.shape:
        return float("inf")
    if not golden.is_floating_point():
        return 0.0 if torch.equal(computed.long(), golden.long()) else float("inf")
    return float((computed.double() - golden.double()).abs().max())

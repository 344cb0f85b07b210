"""Which examples to look at: the lowest scores of a task, spread over the questions where many are equally bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from video3d_plugin.tasks import TaskSpec


def worst(spec: TaskSpec, records: Sequence[dict], count: int = 12) -> list[tuple[Mapping, float]]:
    """The `count` lowest, by score and then by id; of those that tie at the last place, some from everywhere."""
    if count <= 0:
        return []
    known = {record["id"]: record for record in records if not record.get("extra")}
    scores = spec.item_scores(list(known.values()))
    ordered = sorted(scores, key=lambda key: (scores[key], key))
    if len(ordered) > count:
        limit = scores[ordered[count - 1]]
        below = [key for key in ordered if scores[key] < limit]
        tied = [key for key in ordered if scores[key] == limit]
        rest = count - len(below)
        ordered = below + [tied[i * len(tied) // rest] for i in range(rest)]
    return [(known[key], scores[key]) for key in ordered]

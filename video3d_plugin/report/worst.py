"""Selects the worst and the typical examples of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from video3d_plugin.tasks import TaskSpec

TYPICAL = 4  # typical examples of each task and run
SHOWN_CHANGES = 12  # questions of a comparison that became better, and that became worse

Examples = list[tuple[Mapping, float]]


def chosen_examples(spec: TaskSpec, records: Sequence[dict], count: int) -> tuple[Examples, Examples]:
    """Return the worst and the typical examples that the report shows, as (record, score) pairs.

    Args:
        spec: The benchmark.
        records: Its records.
        count: Number of worst examples.
    """
    ranked = _ranked(spec, records)
    return _lowest(ranked, count), _middle(ranked, min(count, TYPICAL))


def worst(spec: TaskSpec, records: Sequence[dict], count: int = 12) -> Examples:
    """Return the records with the lowest scores, by score and then by id.

    Args:
        spec: The benchmark.
        records: Its records.
        count: Number of examples. Of records that tie at the last place, an even spread is taken.

    Returns:
        (record, score) pairs.
    """
    return _lowest(_ranked(spec, records), count)


def typical(spec: TaskSpec, records: Sequence[dict], count: int = TYPICAL) -> Examples:
    """Return the records whose scores lie in the middle of all, as `worst` does.

    Args:
        spec: The benchmark.
        records: Its records.
        count: Number of examples.
    """
    return _middle(_ranked(spec, records), count)


def _ranked(spec: TaskSpec, records: Sequence[dict]) -> Examples:
    """Return all records by score and then by id. Scores of captions take a pass over all of them."""
    by_id = records_by_id(records)
    scores = spec.item_scores(list(by_id.values()))
    return [(by_id[key], scores[key]) for key in sorted(scores, key=lambda key: (scores[key], key))]


def _lowest(ranked: Examples, count: int) -> Examples:
    if count <= 0 or len(ranked) <= count:
        return ranked[: max(count, 0)]
    limit = ranked[count - 1][1]
    below = [row for row in ranked if row[1] < limit]
    tied = [row for row in ranked if row[1] == limit]
    rest = count - len(below)
    return below + [tied[i * len(tied) // rest] for i in range(rest)]


def _middle(ranked: Examples, count: int) -> Examples:
    start = max(0, (len(ranked) - max(count, 0)) // 2)
    return ranked[start : start + max(count, 0)]


def records_by_id(records: Sequence[Mapping]) -> dict[str, Mapping]:
    """Return the records of the benchmark's own questions by id; a later one replaces an earlier one."""
    return {record["id"]: record for record in records if not record.get("extra")}

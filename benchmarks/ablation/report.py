"""The ablation's table, beside the paper's, and its plot."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

from benchmarks.ablation.runs import Numbers
from benchmarks.ablation.variants import BASE, COLUMNS, HOME, PAPER_VIEWS, VARIANTS, VIEWS
from benchmarks.page import machine

Found = dict[str, list[dict[str, Numbers]]]  # by variant: one a seed
_HOME = f"{HOME[0]} {HOME[1]}"
_PAPER = ("ScanRefer Acc@0.5", "Scan2Cap CIDEr@0.5", "ScanQA EM@1")


def of(found: Found, name: str, view: str, column: str) -> list[float]:
    """The numbers of all seeds."""
    return [run[view][column] for run in found[name]]


def section(found: Found, what: str, picture: str) -> str:
    names = [column for column, _, _ in COLUMNS]
    lines = [
        "## Ablation",
        "",
        f"`make ablation` on the mini benchmark ({what}), annotated boxes as proposals, {HOME[1]} frames",
        f"by `{HOME[0]}`; mean ± spread (standard deviation of a sample) over runs with seeds 0, 1, ... {machine()}.",
        "",
        "| variant | runs | " + " | ".join(names) + " | paper: " + " / ".join(_PAPER) + " |",
        "|---" * (len(names) + 3) + "|",
    ]
    for variant in VARIANTS:
        cells = [spread(of(found, variant.name, _HOME, name)) for name in names]
        paper = " / ".join("—" if value is None else f"{value:.2f}" for value in variant.paper)
        lines.append(f"| {variant.name} | {len(found[variant.name])} | " + " | ".join(cells) + f" | {paper} |")
    lines += ["", "The base, asked with other frames than it was trained with:", ""]
    lines += ["| sampler | frames | " + " | ".join(names) + " | paper: ScanRefer Acc@0.25 |"]
    lines += ["|---" * (len(names) + 3) + "|"]
    for sampler, frames in VIEWS:
        cells = [spread(of(found, BASE.name, f"{sampler} {frames}", name)) for name in names]
        paper = f"{PAPER_VIEWS[sampler, frames]:.2f}" if (sampler, frames) in PAPER_VIEWS else "—"
        lines.append(f"| {sampler} | {frames} | " + " | ".join(cells) + f" | {paper} |")
    return "\n".join([*lines, "", *orderings(found), "", f"![ablation]({picture})"])


def spread(values: list[float]) -> str:
    """The mean, and the spread where there is more than one."""
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "—"
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


def orderings(found: Found) -> list[str]:
    """For each figure of the paper that can be compared: whether the variant is on the same side of the base, and
    `mc` of `uniform` with as many frames."""
    lines = ["Against the base, per figure that the paper gives:", ""]
    for variant in VARIANTS[1:]:
        for column, theirs, base in zip(_PAPER, variant.paper, BASE.paper, strict=True):
            if theirs is None or base is None:
                continue
            ours, ours_base = (of(found, v.name, _HOME, column) for v in (variant, BASE))
            lines += _ordering(f"{variant.name}, {column}", ours, ours_base, theirs - base)
    lines += ["", "`mc` against `uniform`, ScanRefer (Acc@0.5 here, Acc@0.25 in the paper):", ""]
    for frames in sorted({frames for _, frames in PAPER_VIEWS}):
        mc, uniform = (of(found, BASE.name, f"{sampler} {frames}", _PAPER[0]) for sampler in ("mc", "uniform"))
        theirs = PAPER_VIEWS["mc", frames] - PAPER_VIEWS["uniform", frames]
        lines += _ordering(f"{frames} frames", mc, uniform, theirs)
    return lines


def _ordering(what: str, ours: list[float], ours_base: list[float], theirs: float) -> list[str]:
    """The line that says on which side of the base we are; none without a run."""
    if not ours or not ours_base:
        return []
    gap = mean(ours) - mean(ours_base)
    if min(len(ours), len(ours_base)) < 2:
        verdict = "one run, which does not tell chance from effect"
    elif abs(gap) <= stdev(ours) + stdev(ours_base):
        verdict = "within the spread"
    else:
        verdict = "as in the paper" if (gap > 0) == (theirs > 0) else "the other way round"
    return [f"- {what}: {gap:+.1f} here, {theirs:+.2f} in the paper: {verdict}"]


def plot(found: Found, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (column, _, _) in zip(figure.subplots(1, len(COLUMNS)), COLUMNS, strict=True):
        for row, variant in enumerate(reversed(VARIANTS)):
            values = of(found, variant.name, _HOME, column)
            axes.barh(row, mean(values) if values else 0, color="#4878a8" if variant is BASE else "#b8c8d8")
            axes.plot(values, [row] * len(values), "k.", markersize=4)
        axes.set_title(column, fontsize=9)
        labelled = axes.get_subplotspec().is_first_col()
        axes.set_yticks(range(len(VARIANTS)), [v.name for v in reversed(VARIANTS)] if labelled else [], fontsize=8)
    figure.savefig(path)

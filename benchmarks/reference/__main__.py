"""The reference's own programs beside this package, on one CPU thread each; the table goes to docs/results.md.

    python -m benchmarks.reference --checkout DIR [--python PROGRAM] [--page docs/results.md] [--report]

DIR is a checkout of LaVi-Lab/Video-3D-LLM, PROGRAM a Python with its dependencies (transformers 4.40). Every job runs
in a process of its own on each side, one after the other, on the same files, and its results are compared. What has run
is kept in the output folder: the command goes on where it was stopped; `--report` writes the table of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.page import machine, table, write_section
from benchmarks.reference.case import write_case
from benchmarks.reference.compare import HEADER, Row, rows_of, window_line
from video3d_plugin.errors import DataError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main(arguments: list[str] | None = None) -> int:
    args = parsed(arguments)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    theirs = {**environment, "PYTHONPATH": str(args.checkout.resolve())}
    folder = args.output.resolve()
    jobs = kept_case(folder, args)
    lines = [_versions(args, theirs), f"{args.frames} frames of 1296x968, depth 640x480, {args.proposals} boxes"]
    rows: list[Row] = []
    for name, job in jobs.items():
        if not args.report:
            run_once(folder, name, "theirs", [args.python, str(HERE / "theirs.py")], theirs)
            run_once(folder, name, "ours", [sys.executable, "-m", "benchmarks.reference.ours"], environment)
        if not has_run(folder, name, job):
            lines.append(f"not run: {name}")
            continue
        if job["kind"] == "window":
            lines.append(window_line(folder, name, job))
            continue
        for row in rows_of(folder, name, job):
            print(" | ".join(row.cells()), flush=True)
            rows.append(row)
    print("\n".join(lines))
    if args.page and rows:
        write_section(args.page, "reference", section(rows, lines))
    different = [row.what for row in rows if not row.equal]
    print(f"results differ: {', '.join(different)}" if different else f"the results of {len(rows)} rows are equal")
    return 1 if different or not rows else 0


def kept_case(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The jobs of an output folder, written if it is new. Raises DataError for a folder of other sizes."""
    sizes = {"frames": args.frames, "coverage_frames": args.coverage_frames, "proposals": args.proposals}
    sizes["asked"] = args.asked
    if (folder / "sizes.json").exists():
        if json.loads((folder / "sizes.json").read_text()) != sizes:
            raise DataError("the folder holds a run of other sizes", where=folder, remedy="name another --output")
        return json.loads((folder / "jobs.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    jobs = write_case(folder, **sizes)
    (folder / "sizes.json").write_text(json.dumps(sizes))
    return jobs


def run_once(folder: Path, name: str, side: str, command: list[str], environment: dict[str, str]) -> None:
    """Run one side of a job, unless it is kept or the job is not for that side.

    Raises:
        DataError: It failed; the message holds the end of what it printed.
    """
    job = json.loads((folder / "jobs.json").read_text())[name]
    if side not in job["sides"] or (folder / f"{name}.{side}.json").exists():
        return
    done = subprocess.run([*command, str(folder), name], env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        end = " ".join(done.stderr.strip().splitlines()[-3:])
        raise DataError(f"{side} failed: {end}", where=f"job {name}", remedy="check the checkout and its Python")


def has_run(folder: Path, name: str, job: dict[str, Any]) -> bool:
    return all((folder / f"{job.get(f'{side}_of', name)}.{side}.json").exists() for side in ("theirs", "ours"))


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True, help="checkout of LaVi-Lab/Video-3D-LLM")
    parser.add_argument("--python", default=sys.executable, help="Python that has the reference's dependencies")
    parser.add_argument("--page", type=Path, help="write the table to this page")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "reference", help="what has run is kept here")
    parser.add_argument("--report", action="store_true", help="run nothing, write the table of what has run")
    parser.add_argument("--frames", type=int, default=32, help="frames of the scan that is asked about")
    parser.add_argument("--coverage-frames", type=int, default=100, help="frames that frames are selected from")
    parser.add_argument("--proposals", type=int, default=50)
    parser.add_argument("--asked", type=int, default=1, help="questions that the reference is timed on")
    args = parser.parse_args(arguments)
    if not (args.checkout / "llava" / "video_utils.py").is_file():
        parser.error(f"{args.checkout} is not a checkout of LaVi-Lab/Video-3D-LLM: it has no llava/video_utils.py")
    return args


def section(rows: list[Row], lines: list[str]) -> str:
    command = f"`make bench-reference REFERENCE=CHECKOUT`, {machine()}."
    cells = table(HEADER, [row.cells() for row in rows])
    return "\n\n".join(["## Beside the reference", command, cells, "```\n" + "\n".join(lines) + "\n```"])


def _versions(args: argparse.Namespace, environment: dict[str, str]) -> str:
    code = "import torch, transformers; print(f'torch {torch.__version__}, transformers {transformers.__version__}')"
    done = subprocess.run([args.python, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise DataError(
            f"{args.python} has not the reference's dependencies: {done.stderr.strip().splitlines()[-1]}",
            remedy="name a Python with torch and transformers 4.40: REFERENCE_PYTHON=PROGRAM",
        )
    git = ["git", "-C", str(args.checkout), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "of unknown commit"
    return f"reference: LaVi-Lab/Video-3D-LLM {commit}, {done.stdout.strip()}, sdpa, float32, 1 thread"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DataError as error:
        sys.exit(str(error))

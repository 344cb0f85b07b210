"""`video3d verify [FOLDER]`: recompute reference results and compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from video3d_plugin.cli.common import add_json_argument
from video3d_plugin.verify import KINDS, CaseResult, verify

EPILOG = """\
Exit status: 0 if all computed cases agree, 1 if one does not.

examples:
  video3d verify                                 what is installed with the package
  video3d verify --kind model --device cuda      the model on a GPU
  video3d verify tests/goldens                   data pipeline and number formats, in a checkout
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    kinds = ", ".join(KINDS)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="FOLDER",
        help="folder of goldens, with sub-folders of the kinds (default: those installed with the package)",
    )
    parser.add_argument(
        "--kind", action="append", metavar="KIND", help=f"check this kind only: {kinds} (may be given several times)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="number format of the model; goldens are float32, the others have wider limits (default: float32)",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each case; return 1 if one does not agree or there is none, else 0."""
    results: list[CaseResult] = []
    for result in verify(args.folder, args.kind, device=args.device, dtype=args.dtype):
        results.append(result)
        if not args.json:
            print(result.line(), flush=True)
    if args.json:
        json.dump([result.as_dict() for result in results], sys.stdout, indent=1)
        print()
    out = [result for result in results if result.ok is False]
    if not args.json:
        computed = sum(result.ok is not None for result in results)
        print(f"{computed - len(out)} of {computed} cases agree" + (f"; {len(out)} OUT" if out else ""))
    return 1 if out or not results else 0

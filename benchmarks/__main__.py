"""`make bench`: every benchmark in turn, each in a process of its own; what they print goes to docs/results.md too.

    python -m benchmarks [--page FILE] [NAME ...]

Ends with the names of those that failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    others = ("__main__", "gpu", "gpu_roofline")  # `make bench-gpu` runs these
    scripts = sorted(p for p in HERE.glob("*.py") if '__name__ == "__main__"' in p.read_text() and p.stem not in others)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(p.stem for p in scripts)}")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "results.md")
    args = parser.parse_args()
    unknown = set(args.names) - {script.stem for script in scripts}
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    chosen = [script for script in scripts if not args.names or script.stem in args.names]
    failed = []
    for script in chosen:
        print(f"== {script.stem}", flush=True)
        if subprocess.run([sys.executable, script, "--page", args.page], check=False).returncode:
            failed.append(script.stem)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(chosen)} benchmarks ran; see {args.page}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`make bench`: every benchmark in turn, each in a process of its own. Ends with the names of those that failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    scripts = sorted(p for p in HERE.glob("*.py") if '__name__ == "__main__"' in p.read_text() and p.stem != "__main__")
    failed = []
    for script in scripts:
        print(f"== {script.stem}", flush=True)
        if subprocess.run([sys.executable, script], check=False).returncode:
            failed.append(script.stem)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(scripts)} benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

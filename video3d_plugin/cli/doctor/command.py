"""`video3d doctor`: check the installation and print a line for each part."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial

from video3d_plugin.cli.common import add_json_argument
from video3d_plugin.cli.doctor import data, entry_points, hosts, libraries, machine, training
from video3d_plugin.cli.doctor.check import NEEDS, Check, survived

EPILOG = """\
Each line is ok, absent (optional, and not installed) or problem (installed or needed, and does not work), and ends in a
remedy. Exit status: 1 if there is a problem. VIDEO3D_TRACEBACK=1 makes all commands show tracebacks.

examples:
  video3d doctor
  video3d doctor --need lmms-eval --need gpu --quick
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--need",
        action="append",
        choices=NEEDS,
        default=[],
        help="count the absence of this part as a problem (may be given several times)",
    )
    parser.add_argument(
        "--llava",
        metavar="CHECKOUT",
        help="LLaVA-NeXT checkout (default: LLAVA_NEXT_SRC, or the installed llava)",
    )
    parser.add_argument("--quick", action="store_true", help="skip imports and patches, which take seconds")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; return 1 if there is a problem, else 0."""
    checks = [with_needs(check, args.need) for check in all_checks(args.quick, args.llava)]
    problems = [check for check in checks if check.status == "problem"]
    if args.json:
        print(json.dumps({"ok": not problems, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        width = max(len(check.part) for check in checks)
        for check in checks:
            remedy = f"  -> {check.remedy}" if check.remedy and check.status != "ok" else ""
            print(f"{check.status:8}{check.part:{width}}  {check.found}{remedy}")
        print(f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "no problems")
    return 1 if problems else 0


def with_needs(check: Check, needed: list[str]) -> Check:
    """Return the check, as a problem where its part is absent and needed."""
    return replace(check, status="problem") if check.status == "absent" and check.needs in needed else check


def all_checks(quick: bool = False, llava: str | None = None) -> Iterator[Check]:
    """Yield all checks in the order of the report.

    Args:
        quick: Skip the checks that import libraries or apply patches.
        llava: A LLaVA-NeXT checkout.
    """
    llava = llava or os.environ.get(training.VARIABLE)
    parts = {
        "interpreter": machine.interpreter,
        "libraries": libraries.libraries,
        "hosts": hosts.hosts,
        "hooks": hosts.hooks,
        "imports": libraries.imports,
        "entry points": partial(entry_points.entry_points, load=not quick),
        "training under LLaVA-NeXT": partial(training.checks, llava),
        "patches": partial(hosts.patches, llava),
        "gpu": machine.gpu,
        "flash-attn": machine.flash_attention,
        "java": machine.java,
        "data": data.data_folder,
    }
    for part, checks in parts.items():
        if not (quick and part in ("imports", "patches")):
            yield from survived(part, checks)

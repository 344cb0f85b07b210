"""How a training script of LLaVA-NeXT ends on an error that the user can act on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from video3d_plugin.errors import Video3DError


def exit_on_error(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that a Video3DError is printed in one line and ends the process with status 2."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Video3DError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error

    return run

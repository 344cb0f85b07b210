"""`lmms-eval --model NAME` for models of add-ons: an attribute of this module for each registered name.

lmms-eval imports a class by a dotted path; `registered_models.NAME` is the adapter that loads checkpoints as NAME.
"""

from __future__ import annotations

from functools import lru_cache

from video3d_plugin.hosts.lmms_eval.model import Video3DLmms
from video3d_plugin.model import registry


@lru_cache(maxsize=64)
def adapter(name: str) -> type[Video3DLmms]:
    """Return lmms-eval's adapter for a registered model.

    Raises:
        DataError: The name is unknown, or its add-on cannot be loaded.
    """
    registry.get(name)
    return type(f"Video3DLmms[{name}]", (Video3DLmms,), {"model_class": name, "__module__": __name__})


def __getattr__(name: str) -> type[Video3DLmms]:
    if name.startswith("__") or name not in registry.names():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return adapter(name)

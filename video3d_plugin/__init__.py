"""Posed RGB-D video as input to LLaVA-NeXT and lmms-eval, after Video-3D LLM (arXiv 2412.00493).

Importing this package is free of side effects and of heavy imports: the public names below are
resolved on first use. The start-up hook imports it in every interpreter of the environment, so
nothing is imported here that Python has not loaded by then (pathlib alone would take 10 ms).
"""

import os
import sys

__version__ = "0.1.0"

_PUBLIC = {
    "DataFolder": "video3d_plugin.data.folder",
    "Scene": "video3d_plugin.scene",
    "SceneInputs": "video3d_plugin.scene",
    "Video3DConfig": "video3d_plugin.config",
    "Video3DForCausalLM": "video3d_plugin.model.modeling",
    "Video3DProcessor": "video3d_plugin.model.processing",
    "load_model": "video3d_plugin.pipeline",
    "load_scene": "video3d_plugin.data.readers",
}
__all__ = [*sorted(_PUBLIC), "__version__"]

TYPE_CHECKING = False  # typing's own would have to be imported; type checkers know the name
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from video3d_plugin.config import Video3DConfig as Video3DConfig
    from video3d_plugin.data.folder import DataFolder as DataFolder
    from video3d_plugin.data.readers import load_scene as load_scene
    from video3d_plugin.model.modeling import Video3DForCausalLM as Video3DForCausalLM
    from video3d_plugin.model.processing import Video3DProcessor as Video3DProcessor
    from video3d_plugin.pipeline import load_model as load_model
    from video3d_plugin.scene import Scene as Scene
    from video3d_plugin.scene import SceneInputs as SceneInputs

_FOLDER = os.path.dirname(os.path.abspath(__file__))


class _CheckoutFinder:
    """Finds video3d_plugin.patches and video3d_plugin.lmms_tasks in a checkout, where they lie beside this folder.

    Extending `__path__` by the checkout's root would make everything else there importable too, the tests for one.
    """

    NAMES = ("video3d_plugin.patches", "video3d_plugin.lmms_tasks")

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name not in cls.NAMES:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [os.path.dirname(_FOLDER)])


# A wheel carries both folders inside this one, and needs no finder.
if not os.path.isdir(os.path.join(_FOLDER, "patches")):
    sys.meta_path.append(_CheckoutFinder)


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

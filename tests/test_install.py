"""pip install and pip install -e give the same: hook, tasks, patches, entry points; and uninstall leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from host_files import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("hatchling") is None or find_spec("pip") is None,
        reason="building without a network needs pip and hatchling in this environment (pip install hatchling)",
    ),
]
LOOK = """
import json, sys
from importlib.metadata import entry_points
import video3d_plugin.patches.registry as registry
from video3d_plugin.patches.lmms_eval_task_folder import task_folder
import os
print(json.dumps({
    "hook": any(type(f).__name__ == "HostFinder" for f in sys.meta_path),
    "tasks": sorted(os.listdir(task_folder())),
    "folder": task_folder(),
    "patches": [registry.get(name).name for name in registry.NAMES],
    "model": sorted({p.value for p in entry_points(group="lmms_eval.models") if p.name == "video3d"}),
}))
"""


@pytest.fixture
def venv(tmp_path):
    """An empty environment that sees the packages of this one, without this package."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    outer = [path for path in sys.path if path.endswith("site-packages")]  # appended, so their .pth files do not run
    (site / "aaa_outer.pth").write_text(f"import sys; sys.path.extend({outer!r})\n")
    return folder, site


def python(venv, *arguments, **options) -> subprocess.CompletedProcess:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIDEO3D_HOOKS")}
    return subprocess.run(
        [venv[0] / "bin" / "python", *map(str, arguments)], capture_output=True, text=True, env=clean, cwd=venv[0]
    )


def files_of(venv) -> set[str]:
    return {str(p.relative_to(venv[0])) for p in venv[0].rglob("*") if "video3d" in str(p.relative_to(venv[0]))}


@pytest.mark.parametrize("editable", [False, True], ids=["install", "install -e"])
def test_an_installation_works_and_leaves_nothing_behind(venv, editable, tmp_path):
    import json
    import shutil

    source = tmp_path / "source"  # hatchling writes nothing into the source, but an editable install points at it
    ignore = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "runs")
    shutil.copytree(ROOT, source, ignore=ignore)
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", *(["-e"] if editable else [])]
    done = python(venv, "-m", "pip", "install", *options, source)
    assert done.returncode == 0, done.stderr[-3000:]
    look = python(venv, "-c", LOOK)
    assert look.returncode == 0, look.stderr
    seen = json.loads(look.stdout)
    assert seen["hook"] and seen["model"] == ["video3d_plugin.hosts.lmms_eval.manifest:manifests"]
    assert {"scanrefer", "sqa3d", "_scene_task", "placeholder.json", "video3d_all.yaml"} <= set(seen["tasks"])
    assert seen["folder"].startswith(str(source if editable else venv[1]))
    assert (venv[1] / "video3d_plugin_hooks.pth").is_file()
    if editable:
        assert not (venv[1] / "video3d_plugin").exists(), "a second, stale copy beside the checkout"
    done = python(venv, "-m", "pip", "uninstall", "--yes", "video3d-plugin")
    assert done.returncode == 0, done.stderr[-3000:]
    assert files_of(venv) == set()
    assert python(venv, "-c", "import sys; print(sys.flags.verbose)").stderr == ""


def test_an_environment_whose_checkout_was_deleted_still_starts_silently(venv):
    (venv[1] / "_video3d_plugin.pth").write_text(str(venv[0] / "gone") + "\n")
    (venv[1] / "video3d_plugin_hooks.pth").write_text((ROOT / "video3d_plugin_hooks.pth").read_text())
    outer = venv[1] / "aaa_outer.pth"
    outer.unlink()
    done = python(venv, "-c", "print('started')")
    assert (done.stdout.strip(), done.stderr) == ("started", "")

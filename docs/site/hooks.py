"""Hook of MkDocs: pages from outside of docs/, links between them, and a check of the reference of Python names."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "CHANGELOG.md": "changelog.md",
    "patches/README.md": "patches.md",
    "video3d_plugin/mini/checkpoint/README.md": "model_card.md",
}
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside of docs/."""
    check_reference()
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=moved(_without_front_matter(text), source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of the pages of docs/ lead to the added pages."""
    source = f"docs/{page.file.src_uri}"
    return markdown if page.file.src_uri in PAGES.values() else moved(markdown, source)


def moved(markdown: str, source: str) -> str:
    """Return the text with links to files of the repository replaced by links to pages.

    Args:
        markdown: The text.
        source: Its file in the repository.
    """

    def replaced(match: re.Match[str]) -> str:
        link = match[2]
        if ":" in link or link.startswith("/"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        return match[1] + PAGES.get(path, path.removeprefix("docs/"))

    return _LINK.sub(replaced, markdown)


def check_reference() -> None:
    """Check that api.md has every public name, and that each has a docstring, as have its public methods.

    Raises:
        PluginError: A public name has no entry, or it or a method of it has no docstring.
    """
    entries = re.findall(r"^::: (\S+)", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    for name, module in public_names().items():
        entry = next((e for e in entries if e.startswith(f"{module}.") and e.rsplit(".", 1)[1] == name), None)
        if entry is None:
            raise PluginError(f"docs/api.md has no entry for the public name {name} of {module}")
    for entry in entries:
        module, name = entry.rsplit(".", 1)
        if undocumented := [each for each in _parts(_definition(module, name)) if not ast.get_docstring(each)]:
            raise PluginError(
                f"{entry} has no docstring" + f" of {undocumented[0].name}" * (undocumented[0].name != name)
            )


def public_names() -> dict[str, str]:
    """Return the public names of the package and the modules that its table says they come from."""
    tree = ast.parse((ROOT / "video3d_plugin/__init__.py").read_text(encoding="utf-8"))
    tables = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_PUBLIC")
    return ast.literal_eval(next(tables))


_Definition = ast.FunctionDef | ast.ClassDef


def _definition(module: str, name: str) -> _Definition:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, _Definition) and node.name == name:
            return node
    raise PluginError(f"{module} defines no {name}")


def _parts(definition: _Definition) -> list[_Definition]:
    """Return a function, or a class with its public methods; overloads only repeat a signature."""
    methods = definition.body if isinstance(definition, ast.ClassDef) else []
    return [
        definition,
        *(
            node
            for node in methods
            if isinstance(node, ast.FunctionDef)
            and not node.name.startswith("_")
            and not any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)
        ),
    ]


def _without_front_matter(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)

"""Links out of a folder, links within it, and links to nowhere."""

from __future__ import annotations

from video3d_plugin.files.links import escapes_root, skipped_link_note


def test_only_what_leads_out_escapes(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    (root / "file").write_text("1")
    links = {
        "within": "file",
        "out": outside,
        "up": "../outside",
        "loop": "loop",
        "dangling": "none",
        "over": "inner/../..",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert {name for name in links if escapes_root(root / name, root)} == {"out", "up", "over"}
    assert escapes_root(root / "out" / "behind", root) and not escapes_root(root / "file", root)
    assert escapes_root(tmp_path / "rootless", root)  # a name that begins alike is another folder
    (tmp_path / "alias").symlink_to(root)
    assert not escapes_root(tmp_path / "alias" / "file", tmp_path / "alias")


def test_the_note_names_the_link_and_the_option(tmp_path):
    note = skipped_link_note(tmp_path / "a", tmp_path, "searched")
    assert str(tmp_path / "a") in note and "not searched" in note and "--follow-links" in note

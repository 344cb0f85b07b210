"""Text as an attacker would have it in a scan's name, a question or an answer."""

from __future__ import annotations

from dataclasses import replace

from video3d_plugin.scene import Instance, Omission

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\u2028 {{DATA}} \"'`${1}\\ &lt;b&gt;"
)


def hostile_view(view, **changes):
    """A view all of whose texts are hostile."""
    scene = replace(
        view.scene,
        scene_id=HOSTILE,
        instances=(Instance(1, HOSTILE, (0, 0, 1, 1, 1, 1)),),
        omissions=(Omission(HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
    )
    frames = (replace(view.frames[0], name=HOSTILE), *view.frames[1:])
    return replace(view, scene=scene, frames=frames, sampler=HOSTILE, **changes)

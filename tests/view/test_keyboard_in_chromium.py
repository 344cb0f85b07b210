"""The viewer without a mouse: what can be used is reached, named and visibly focused; and labels of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from video3d_plugin.view import write_page

FOCUSED = """(() => { const e = document.activeElement, style = getComputedStyle(e);
  return [e.id || e.textContent, e.tagName, style.outlineStyle === "solid" || style.boxShadow !== "none",
    (e.ariaLabel || e.labels?.[0]?.innerText || e.title || e.innerText || "").trim()]; })()"""


@pytest.fixture
def page(chromium, view, item, tmp_path):
    """The tab with a page of one question with boxes; no error came up."""
    chromium.errors.clear()
    write_page(tmp_path / "scene.html", view, [item])
    chromium.open(tmp_path / "scene.html")
    chromium.settle()
    yield chromium
    assert chromium.errors == []


def labels(kind: str) -> str:
    """The texts of the visible labels of boxes of a kind, as an expression."""
    shown = f"[...document.querySelectorAll('#labels .label.{kind}')].filter((e) => !e.hidden)"
    return f"{shown}.map((e) => e.textContent).join()"


def test_all_that_can_be_used_is_reached_named_and_visibly_focused(page):
    page.js("document.activeElement.blur()")
    stops = []
    for _ in range(80):
        page.key("Tab")
        stops.append(page.js(FOCUSED))
        if stops[-1][1] == "BODY":
            break
    assert stops[-1][1] == "BODY"  # the focus left the page again
    reached = {stop[0] for stop in stops}
    assert {"cloud-canvas", "tool-point", "view-box", "item-next", "layer-names", "point-size", "play"} <= reached
    usable = page.js("[...document.querySelectorAll('button,input,select')].filter((e) => e.checkVisibility()).length")
    assert len(stops) >= usable
    assert [stop for stop in stops[:-1] if not (stop[2] and stop[3])] == []


def test_a_row_is_a_button_and_keeps_the_focus_when_it_is_pressed(page):
    page.js("document.querySelectorAll('#box-list button')[2].focus()")
    page.key("Enter")
    assert page.js("V.state.selected.kind") == "proposal" and page.js("V.state.selected === V.boxes[2]")
    assert page.js("document.activeElement === document.querySelectorAll('#box-list button')[2]")
    page.key("Enter")
    assert page.js("V.state.selected") is None


def test_arrow_keys_turn_and_move_the_view_and_the_tool_takes_its_middle(page):
    place = "V.stage.camera.position.toArray()"
    page.key("Tab")
    assert page.js("document.activeElement.id") == "cloud-canvas"
    before, distance = page.js(place), "V.stage.camera.position.distanceTo(V.stage.controls.target)"
    far = page.js(distance)
    page.key("ArrowLeft")
    page.key("ArrowUp")
    turned = page.js(place)
    assert np.linalg.norm(np.subtract(turned, before)) > 0.1 and page.js(distance) == pytest.approx(far)
    page.key("ArrowRight", shift=True)
    assert page.js(place) != turned and page.js(distance) == pytest.approx(far)
    page.key("+")
    assert page.js(distance) < 0.9 * far
    page.key("p")
    page.key("Enter")
    page.settle()
    assert "--point " in page.js("$('told').textContent")
    page.click(300, 300)  # from now on, arrows step through the questions
    before = page.js(place)
    page.key("ArrowLeft")
    assert page.js(place) == before


def test_of_the_proposals_only_those_that_matter_have_a_label(page):
    page.js("$('layer-proposal').click()")
    page.settle()
    assert page.js(labels("proposal")) == "" and page.js(labels("truth")) and page.js(labels("predicted"))
    page.js("document.querySelectorAll('#box-list button')[3].focus()")
    page.wait_for(f"{labels('proposal')} === labelText(V.boxes[3])")
    page.js("document.activeElement.blur(); $('layer-names').click()")
    page.wait_for(f"{labels('proposal')}.split(',').length === LABELLED")
    assert page.js("V.boxes.filter((b) => b.kind === 'proposal').length > LABELLED")  # the best of them


def test_the_box_under_the_pointer_has_a_label(page):
    page.js("$('layer-proposal').click(); select(V.stage, null)")
    x, y = page.js("projector(V.stage)(V.boxes.find((b) => b.kind === 'proposal').box.slice(0, 3))")
    for place in (x + 3, x):
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place, y=y)
    page.wait_for("V.state.pointed !== null")
    kind = page.js("V.state.pointed.kind")
    page.wait_for(f"{labels(kind)}.includes(labelText(V.state.pointed))")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1200, y=20)
    page.wait_for("V.state.pointed === null")
    page.wait_for(f"{labels('proposal')} === ''")

"""The page of `video3d serve` in a real browser: keyboard, points, progress, and errors beside what caused them."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'video3d-plugin[serve]'")
uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'video3d-plugin[serve]'")

from worker_calls import read_unless_stuck  # noqa: E402

from video3d_plugin import load_model  # noqa: E402
from video3d_plugin.serve.app import build  # noqa: E402
from video3d_plugin.serve.reading import SceneSource  # noqa: E402
from video3d_plugin.serve.server import config_of  # noqa: E402
from video3d_plugin.serve.service import SceneService  # noqa: E402

pytestmark = pytest.mark.slow

IDLE = "element('busy').hidden && element('viewer').src !== ''"
FOCUSED = """(() => { const e = document.activeElement, style = getComputedStyle(e); return {
  id: e.id || e.textContent, tag: e.tagName, outline: style.outlineStyle,
  name: e.ariaLabel || e.labels?.[0]?.innerText || e.title || e.innerText || "" }; })()"""


@pytest.fixture(scope="module")
def address(tiny_checkpoint, my_scan) -> Iterator[str]:
    """A server with two scans; the reading of "stuck" never ends."""
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setattr("video3d_plugin.serve.reading.read_scan", read_unless_stuck)
        scenes = {"my_scan": SceneSource(my_scan), "stuck": SceneSource(my_scan, "stuck")}
        service = SceneService(load_model(tiny_checkpoint, device="cpu"), scenes)
        server = uvicorn.Server(config_of(build(service, ["127.0.0.1"], "a tiny one")))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        service.close()
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def page(chromium, address):
    """The tab with the page, which shows my_scan."""
    chromium.errors.clear()
    chromium.call("Page.navigate", url=address)
    chromium.wait_for("document.readyState === 'complete' && typeof element === 'function'")
    chromium.wait_for(IDLE)
    yield chromium
    refused = "the server responded with a status of 4"  # which the page shows in its own words
    assert [error for error in chromium.errors if refused not in error] == []


def ask(page, text: str) -> None:
    page.js(f"element('question').value = {json.dumps(text)}; element('question-form').requestSubmit(); 1")
    page.wait_for(IDLE)


def items(page) -> list[dict]:
    """The questions in the view."""
    html = urllib.request.urlopen(page.js("new URL(latest, location).href")).read().decode()
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])["items"]


def wait_for_view(page) -> None:
    """Wait until the viewer in the frame has drawn the scene."""
    end = time.monotonic() + 60
    while not page.js_in_frame("document.body?.dataset.ready === 'true' && V.complete"):
        assert time.monotonic() < end
        time.sleep(0.1)


def tab(page) -> dict:
    page.key("Tab")
    return page.js(FOCUSED)


def test_every_control_is_reached_with_the_tab_key_and_the_view_does_not_hold_the_focus(page):
    wait_for_view(page)
    page.js("document.activeElement.blur()")
    reached = []
    while not reached or reached[-1]["tag"] != "IFRAME":
        reached.append(tab(page))
        assert len(reached) < 40
    controls = [stop for stop in reached[:-1] if stop["tag"] != "BODY"]  # where the focus is while it goes to the frame
    names = [stop["id"] for stop in controls]
    assert names[:3] == ["scene", "archive", "question"] and names[-1] == "ask" and "the window" in names
    assert all(stop["outline"] == "solid" and stop["name"].strip() for stop in controls), controls
    for _ in range(80):  # through the view: its tools, boxes, layers and frames
        if tab(page)["tag"] != "IFRAME":
            break
    assert page.js(FOCUSED)["tag"] != "IFRAME"


def test_a_question_is_asked_with_the_keyboard_alone_and_the_focus_stays(page):
    page.js("element('question').focus()")
    page.write("How many chairs are there?")
    assert "answered in words" in page.js("element('kind').textContent")
    page.key("Enter")
    page.wait_for(f"{IDLE} && !element('answer-part').hidden")
    assert page.js("document.activeElement.id") == "question"
    assert items(page)[0]["question"] == "How many chairs are there?" and page.js("element('boxes-part').hidden")
    page.js("element('question').value = ''")
    page.write("the chair")
    assert "found as a box" in page.js("element('kind').textContent")
    page.js("document.querySelector('input[value=answer]').click()")
    assert page.js("element('kind').textContent") == "" and page.js("kindOf('the chair')") == "answer"


def test_a_point_clicked_in_the_view_is_asked_about_and_can_be_removed(page):
    x, y = page.js("(() => { const r = element('viewer').getBoundingClientRect(); return [r.x + 60, r.y + 200]; })()")
    wait_for_view(page)
    page.click(x, y)  # the view has the focus
    page.key("p")
    middle = page.js("element('viewer').clientHeight / 2.6")
    for part in (0.3, 0.4, 0.5, 0.2):
        page.click(x - 60 + page.js("element('viewer').clientWidth") * part, middle)
        page.js("new Promise((done) => setTimeout(done, 400))")
        if page.js("point !== null"):
            break
    place = page.js("point")
    assert re.fullmatch(r"(-?\d+\.\d\d ?){3}", place) and place in page.js("element('point-part').innerText")
    ask(page, "")
    assert page.js("element('message').textContent") == ""
    (item,) = items(page)
    assert item["question"] == "Describe the object here."
    assert item["point"] == pytest.approx([float(value) for value in place.split()])
    page.js("document.querySelector('input[value=boxes]').click()")
    ask(page, "the chair")
    assert "a question about a point has no boxes" in page.js("element('message').textContent")
    page.click_on("#point-remove")
    assert page.js("point") is None and page.js("element('point-part').hidden")
    assert page.js("document.activeElement.id") == "question"


@pytest.mark.parametrize("message", ["{point: [1, 2, 3]}", "{point: '1 2'}", "{point: '<b> 1 2'}", "'1 2 3'", "null"])
def test_the_page_takes_nothing_but_a_point_and_from_nobody_but_the_view(page, message):
    page.js(f"receive({{source: element('viewer').contentWindow, data: {message}}})")
    page.js("receive({source: window, data: {point: '1 2 3'}})")
    assert page.js("point") is None


def test_the_page_says_how_far_a_reading_has_come_while_others_are_answered(page):
    ask(page, "the chair")
    view, boxes = page.js("element('viewer').src"), page.js("element('boxes').innerText")
    page.js("element('scene').value = 'stuck'; element('scene').dispatchEvent(new Event('change')); 1")
    page.wait_for("element('frames').textContent === '3 of 6 frames'")
    assert page.js("element('stage').textContent") == "reading the scan" and page.js("element('share').value") == 0.5
    assert page.js("element('viewer').src") == view and page.js("element('boxes').innerText") == boxes
    asked = "{scene: 'my_scan', question: 'the chair', show: 'boxes'}"  # another user
    assert page.js(f"call('api/ask', {asked}).then((reply) => reply.boxes.length)") > 0
    assert not page.js("element('busy').hidden")  # the reading goes on
    page.js("element('scene').value = 'my_scan'; element('scene').dispatchEvent(new Event('change')); 1")
    page.wait_for(f"{IDLE} && element('viewer').src !== {json.dumps(view)}")


def test_errors_are_shown_beside_their_cause_and_the_last_result_stays(page):
    ask(page, "the chair")
    view, boxes = page.js("element('viewer').src"), page.js("element('boxes').innerText")
    for text, error in (("", "write a question"), ("   ", "write a question"), ("a <b", "the question contains <")):
        ask(page, text)
        assert error in page.js("element('message').innerText"), text
        assert page.js("document.activeElement.id") == "question" or text == "a <b"
    page.js("addScene('gone'); element('scene').value = 'gone'; choose('gone')")
    page.wait_for("!element('scene-message').hidden")
    assert "no scene 'gone'" in page.js("element('scene-message').innerText")
    assert page.js("element('message').hidden") and page.js("element('scene').value") == "my_scan"
    assert page.js("element('viewer').src") == view and page.js("element('boxes').innerText") == boxes
    ask(page, "the table")
    assert page.js("element('scene-message').hidden")


CAMERA = "[...V.stage.camera.position.toArray(), ...V.stage.controls.target.toArray()]"


def in_view(page, expression: str):
    """Wait until the expression is true in the view."""
    end = time.monotonic() + 30
    while not page.js_in_frame(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.1)


def test_an_answer_leaves_the_camera_where_it_is_and_shows_its_box(page):
    wait_for_view(page)
    page.wait_for("ready")
    view = page.js("element('viewer').src")
    page.js_in_frame("V.stage.fitted = null; V.stage.camera.position.x += 0.7; V.stage.controls.update(); V.draw(); 1")
    placed = page.js_in_frame(CAMERA)
    ask(page, "the chair")
    in_view(page, "$('question').textContent === 'the chair' && V.state.selected?.kind === 'predicted'")
    assert page.js("element('viewer').src") == view and page.js_in_frame(CAMERA) == placed
    assert not page.js_in_frame("V.layers.proposal") and page.js_in_frame("$('layer-predicted').checked")
    ask(page, "the table")
    in_view(page, "$('item-place').textContent.startsWith('1 of 2') && $('question').textContent === 'the table'")
    assert page.js_in_frame(CAMERA) == placed
    assert [item["question"] for item in items(page)] == ["the table", "the chair"]
    backwards = "controls.target.lerpVectors(controls.target, camera.position, 2)"
    page.js_in_frame(f"{{ const {{ controls, camera }} = V.stage; {backwards}; controls.update(); V.draw(); }} 1")
    in_view(page, "!$('show-box').hidden")
    page.js_in_frame("$('show-box').click(); 1")
    in_view(page, "$('show-box').hidden && isInView(V.stage, V.state.selected.box)")


def test_an_answer_that_comes_before_the_view_is_ready_opens_it_anew(page):
    wait_for_view(page)
    view = page.js("ready = false; element('viewer').src")
    ask(page, "the chair")
    assert page.js("element('viewer').src") != view
    wait_for_view(page)
    in_view(page, "$('question').textContent === 'the chair'")

"""The page in a real browser: it loads without an error, shows the room, and a click does what it should."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
import pytest
from hostile_text import HOSTILE, hostile_view

from video3d_plugin.view import write_page


@pytest.fixture
def opened(chromium, view, item, tmp_path):
    """open(items, view) -> the tab, showing the page; afterwards: no error, and nothing asked of the network."""
    chromium.errors.clear()
    chromium.requests.clear()

    def open_page(items=(), shown=view, name="scene.html", **about):
        write_page(tmp_path / name, shown, items, **about)
        chromium.open(tmp_path / name)
        chromium.settle()
        return chromium

    yield open_page
    assert chromium.errors == []
    assert all(url.startswith("file:") and url.endswith(".html") for url in chromium.requests), chromium.requests


def stage_pixels(page) -> np.ndarray:
    x, y, width, height = page.js(
        "(() => {const r = $('stage').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]})()"
    )
    return np.asarray(page.screenshot().crop((x, y, x + width, y + height)))


def spot(page, box) -> list[float]:
    """Where a box's centre is in the window."""
    return page.js(
        f"(() => {{const p = projector(V.stage)({json.dumps(box[:3])}), r = $('cloud-canvas').getBoundingClientRect();"
        "return [p[0] + r.x, p[1] + r.y]})()"
    )


def test_the_room_is_shown_in_its_colours_and_goes_with_its_layer(opened, view):
    page = opened()
    shown = stage_pixels(page)
    page.click_on("#layer-path")
    page.click_on("#layer-truth")
    page.click_on("#layer-labels")
    page.settle()
    bare = stage_pixels(page)
    page.click_on("#layer-cloud")
    page.settle()
    without = stage_pixels(page)
    changed = (np.abs(bare.astype(int) - without).max(-1) > 24).mean()
    assert changed > 0.15, f"the cloud covers {changed:.1%} of the stage"
    assert (np.abs(shown.astype(int) - bare).max(-1) > 24).mean() > 0.005  # path, boxes and labels were there
    # the colours on screen are those of the cloud: a common colour of the cloud is common on screen
    mask = np.abs(bare.astype(int) - without).max(-1) > 24
    cells, counts = np.unique(view.cloud.colors // 32, axis=0, return_counts=True)
    common = cells[counts.argmax()]
    assert ((bare[mask] // 32) == common).all(-1).mean() > 0.02


def test_a_click_on_a_box_selects_it_and_a_click_beside_all_boxes_selects_none(opened, item):
    page = opened([item])
    page.key("Escape")
    assert page.js("V.state.selected") is None
    page.click(*spot(page, item["predicted"][0]["box"]))
    page.settle()
    assert page.js("V.state.selected.kind") in ("predicted", "truth")
    chosen = page.js("V.state.selected.box")
    assert f"{chosen[0]:.2f}" in page.js("$('box-info').textContent")
    assert page.js("document.querySelector('#box-list [aria-current=true]') !== null")
    page.click(5, 5)
    assert page.js("V.state.selected") is None and page.js("$('box-info').textContent") == ""


def test_question_answer_overlap_and_scores_are_on_the_page(opened, item):
    page = opened([{**item, "answer": "the left one", "expected": ["the right one"]}], model="a model")
    text = page.js("$('panel').innerText")
    for part in ("the first object", "the left one", "the right one", "a model", "IoU 0.33", "wrong"):
        assert part in text, part
    assert "predicted · 25 % · IoU 0.33" in page.js("$('labels').textContent")


def test_a_frame_is_looked_through_with_the_boxes_where_the_camera_saw_them(opened, view, item):
    page = opened([item])
    page.click_on("#strip .frame", 1)
    page.settle()
    index = page.js("V.state.look")
    assert index == view.chosen[1] and not page.js("$('photo').hidden")
    frame = view.frames[index]
    # the projection by hand: pinhole camera, pixel centres at integers, drawn at the photo's place and scale
    camera_from_world = np.linalg.inv(frame.world_from_camera)
    points = [b.box[:3] for b in view.scene.instances]
    inside = [p for p in points if (camera_from_world @ [*p, 1])[2] > 0.3]
    assert inside
    fx, fy, cx, cy = frame.camera
    left, top, width = page.js("(() => {const r = $('photo').getBoundingClientRect(); return [r.x, r.y, r.width]})()")
    scale = width / frame.size[1]
    for point in inside[:5]:
        x, y, z = (camera_from_world @ [*point, 1])[:3]
        expected = [left + (fx * x / z + cx + 0.5) * scale, top + (fy * y / z + cy + 0.5) * scale]
        assert spot(page, [float(v) for v in point]) == pytest.approx(expected, abs=0.6)
    # the photo and the cloud behind it agree: fading the photo changes its place little
    before = stage_pixels(page)
    page.js("$('look-opacity').value = 0; $('look-opacity').dispatchEvent(new Event('input'))")
    page.settle()
    spot_of = [int(v) for v in (left, top, left + width, top + width * frame.size[0] / frame.size[1])]
    area = (slice(spot_of[1] + 20, spot_of[3] - 20), slice(spot_of[0] + 20, spot_of[2] - 20))
    difference = np.abs(before[area].astype(int) - stage_pixels(page)[area]).mean()
    assert difference < 45, f"photo and cloud differ by {difference:.0f} grey levels"
    page.key("Escape")
    assert page.js("V.state.look") is None and page.js("$('photo').hidden")


def test_samples_are_stepped_through_filtered_and_searched(opened, item):
    items = [
        {**item, "id": str(i), "question": f"thing {i}", "verdict": "right" if i % 3 else "wrong"} for i in range(9)
    ]
    items.append({**item, "id": "9", "task": "scanqa", "question": "how many?", "verdict": None})
    page = opened(items)
    assert page.js("$('question').textContent") == "thing 0"
    page.key("ArrowRight")
    assert page.js("$('question').textContent") == "thing 1"
    page.click_on("[data-filter=wrong]")
    rows = page.js("[...document.querySelectorAll('#item-list li')].map(r => r.textContent)")
    assert rows == ["thing 0", "thing 3", "thing 6"] and page.js("$('question').textContent") == "thing 0"
    page.key("ArrowRight")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert page.js("$('question').textContent") == "thing 0"  # round
    page.click_on("[data-filter=all]")
    page.js("$('search').value = 'HOW many'; $('search').dispatchEvent(new Event('input'))")
    assert page.js("[...document.querySelectorAll('#item-list li')].map(r => r.textContent)") == ["how many?"]
    assert "6 of 9 right" in page.js("$('list-count').textContent")


def test_hostile_text_is_shown_as_text_and_runs_nothing(opened, view, item):
    nasty = {**item, "question": HOSTILE, "answer": HOSTILE, "expected": [HOSTILE], "id": HOSTILE, "task": HOSTILE,
             "reason": HOSTILE, "status": HOSTILE, "measure": HOSTILE}  # fmt: skip
    page = opened([nasty, item], hostile_view(view), model=HOSTILE)
    page.click_on("#strip .frame", 0)
    page.settle()
    assert page.js("window.hacked === undefined && document.querySelectorAll('#panel img, #panel b').length === 0")
    assert page.js("$('question').textContent") == HOSTILE and page.js("$('scene-name').textContent") == HOSTILE


def test_a_scene_without_boxes_or_points_says_no_error(opened, view):
    bare = replace(view.scene, instances=(), proposals=np.zeros((0, 6), np.float32))
    empty = replace(view.cloud, points=np.zeros((0, 3), np.float32), colors=np.zeros((0, 3), np.uint8),
                    facing=np.zeros((0, 3), np.float32))  # fmt: skip
    page = opened((), replace(view, scene=bare, cloud=empty, chosen=()))
    page.click(300, 300)
    assert page.js("V.state.selected") is None and "frames" in page.js("$('strip-title').textContent")


def set_size(page, width, height):
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.settle()


SPREAD = """(() => {
  const project = projector(V.stage), at = POINTS.map((p) => project(p));
  const { clientWidth: w, clientHeight: h } = V.stage.canvas;
  const [xs, ys] = [0, 1].map((i) => at.map((p) => p[i]));
  return [Math.min(...xs), w - Math.max(...xs), Math.min(...ys), h - Math.max(...ys)];
})()"""


@pytest.mark.parametrize("size", [(900, 500), (390, 700)])
def test_views_hold_what_they_show_and_touch_a_margin_also_after_a_change_of_size(opened, item, size):
    page = opened([item])
    try:
        set_size(page, *size)
        room = SPREAD.replace("POINTS", "V.stage.extent.points.map((p) => p.toArray())")
        box = SPREAD.replace("POINTS", "edges(V.state.selected.box).flat()")
        for button in ("#view-above", "#view-home"):
            page.js(f"document.querySelector('{button}').click()")
            page.settle()
            free = page.js(room)
            assert min(free) > 20, (button, free)
            assert min(free[0] + free[1], free[2] + free[3]) < 110, (button, free)  # no nearer view has all points
        page.js("$('view-box').click()")
        page.settle()
        free, (width, height) = page.js(box), page.js("[V.stage.canvas.clientWidth, V.stage.canvas.clientHeight]")
        assert min(free) > 20 and min((free[0] + free[1]) / width, (free[2] + free[3]) / height) < 0.75
        assert page.js("document.documentElement.scrollWidth") <= size[0]
    finally:
        set_size(page, 1280, 800)


def test_the_point_tool_copies_the_point_under_the_pointer(opened, view):
    page = opened()
    target = view.scene.instances[0].box[:3]
    page.key("p")
    x, y = spot(page, [float(v) for v in target])
    page.click(x, y)
    page.settle()
    told = page.js("$('told').textContent")
    assert "--point " in told
    point = np.array([float(v) for v in told.split("--point ")[1].split()])
    assert np.linalg.norm(view.cloud.points - point, axis=1).min() < 0.02
    assert page.js("V.state.selected") is None  # the click did not select the box there
    seen = spot(page, point.tolist())
    assert np.hypot(seen[0] - x, seen[1] - y) < 12
    page.key("Escape")
    assert page.js("V.state.tool") is None


def test_two_clicks_measure_the_distance_between_their_points(opened, view):
    page = opened()
    page.key("m")
    for x in (400, 620):
        page.click(x, 400)
        page.settle()
    a, b = (np.array(p) for p in page.js("V.state.measured"))
    assert f"{np.linalg.norm(a - b):.2f} m" in page.js("$('told').textContent") and np.linalg.norm(a - b) > 0.1


def test_the_timeline_flies_between_poses_and_stops_in_a_frame(opened, view):
    page = opened()
    page.js("$('timeline').value = 1.5; $('timeline').dispatchEvent(new Event('input'))")
    middle = page.js("new THREE.Vector3().setFromMatrixPosition(V.stage.camera.matrixWorld).toArray()")
    ends = np.array([view.frames[i].world_from_camera[:3, 3] for i in (1, 2)])
    assert middle == pytest.approx(ends.mean(0).tolist(), abs=1e-4) and page.js("$('photo').hidden")
    page.js("$('timeline').dispatchEvent(new Event('change'))")
    assert page.js("V.state.look") == 2 and not page.js("$('photo').hidden")
    page.key("Escape")
    assert page.js("V.state.look") is None


def test_a_selected_box_keeps_its_colour_and_its_proposal_is_no_second_row(opened, item):
    box = item["proposals"][1]
    shown = {**item, "predicted": [{"box": box, "score": 0.9, "confidence": 0.56}], "note": "nothing fits: 4 %"}
    page = opened([{**shown, "confidences": [0.1] * len(item["proposals"])}])
    color = page.js("V.stage.fill.material.color.getHex()")
    assert page.js("V.state.selected.kind") == "predicted" and color == page.js("STYLE.predicted.color")
    rows = page.js("[...document.querySelectorAll('#box-list li')].map((r) => r.textContent)")
    assert sum("56 %" in row for row in rows) == 1 and len(rows) == 1 + len(item["proposals"])  # truth, the others
    assert page.js("document.querySelectorAll('#box-list .bar').length") == len(item["proposals"])
    assert "nothing fits: 4 %" in page.js("$('item-note').textContent")


def test_boxes_of_a_sample_are_in_per_cent_and_a_score_without_a_unit_says_so(opened, item):
    rows = "[...document.querySelectorAll('#box-list button')].map((row) => row.textContent)"
    page = opened([{**item, "predicted": [], "confidences": [0.25] * len(item["proposals"])}])
    assert all("25 %" in row for row in page.js(rows)[1:]) and page.js("$('box-unit').hidden")
    page = opened([{**item, "predicted": [], "confidences": None}])
    assert "score 1.00" in page.js(rows)[1] and not page.js("$('box-unit').hidden")


def test_only_layers_that_exist_are_listed_and_an_empty_section_says_why(opened, view):
    from dataclasses import replace

    from video3d_plugin.notes import Note

    note = Note("no camera JSON: the PrimeSense default intrinsics (525) are assumed; add one", "assumption")
    bare = replace(view.scene, instances=(), proposals=np.zeros((0, 6), np.float32), notes=(note,))
    page = opened((), replace(view, scene=bare))
    layers = page.js("[...document.querySelectorAll('#layers input')].map((b) => b.id.slice(6))")
    assert not {"truth", "predicted", "proposal", "labels"} & set(layers) and "cloud" in layers
    assert "--proposals auto" in page.js("$('box-none').textContent")
    assert "PrimeSense" in page.js("$('assumptions').textContent") and page.js("$('note-part').hidden")


def test_the_page_opens_at_the_question_that_its_address_names(opened, item, tmp_path):
    second = {**item, "id": "s|1 ä|0", "question": "second"}
    page = opened([item, second, {**second, "by": "B", "question": "third"}])
    place = page.js("location.href")

    def shown_at(**named):
        page.js(f"location.hash = {json.dumps(urlencode(named))}")
        page.settle()
        return page.js("$('question').textContent")

    assert shown_at(task="scanrefer", id="s|1 ä|0") == "second" and page.js("$('told').hidden")
    assert shown_at(task="scanrefer", id="s|1 ä|0", by="B") == "third"
    assert shown_at(task="scanqa", id="no") == "the first object" and "scanqa no" in page.js("$('told').textContent")
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=f"{place}#{urlencode({'id': 's|1 ä|0'})}")
    page.js("new Promise((done) => setTimeout(done, 1500))")
    page.settle()
    assert page.js("$('question').textContent") == "second"


def test_the_banner_says_what_is_assumed_and_what_can_be_done(opened, view):
    from video3d_plugin.notes import Note

    note = Note("levelled: up estimated (margin 7.9), floor at z = 0; say it with --align", "assumption")
    page = opened((), replace(view, scene=replace(view.scene, notes=(note,))))
    assert page.js("$('assumptions').querySelector('strong').textContent") == note.split(";")[0]
    assert "--align" in page.js("$('assumptions').textContent") and page.js("$('note-part').hidden")


MOVE = """(async () => {
  const counts = [];
  for (let i = 0; i < 12; i++) {
    V.stage.camera.position.applyAxisAngle(V.stage.up, 0.02);
    V.draw();
    await new Promise(requestAnimationFrame);
    counts.push(V.stage.cloud.geometry.drawRange.count);
  }
  return counts;
})()"""


def test_a_slow_movement_draws_fewer_points_and_rest_all_of_them(opened, view):
    rows = np.arange(100_000) % len(view.cloud)
    many = {name: getattr(view.cloud, name)[rows] for name in ("points", "colors", "facing")}
    page = opened(shown=replace(view, cloud=replace(view.cloud, **many)))
    page.js(
        "window.drawnWith = null; const real = drawScene; drawScene = (stage, shaded) => { drawnWith = shaded;"
        "const end = performance.now() + 90; while (performance.now() < end); real(stage, shaded); }; 1"
    )
    counts = page.js(MOVE)
    assert counts[0] > counts[-1] == 20_000 == page.js("V.stage.pace.part")
    assert page.js("V.stage.pace.coarse && !drawnWith && V.stage.renderer.getPixelRatio() < V.stage.ratio")
    page.settle()
    assert page.js("V.stage.cloud.geometry.drawRange.count") == 100_000
    assert page.js("drawnWith && V.stage.renderer.getPixelRatio() === V.stage.ratio")


def test_the_pace_follows_the_time_between_images(opened):
    page = opened()
    after = (
        "(() => {{ const pace = makePace(500000, {slow}); for (const ms of {times}) keepPace(pace, ms);"
        "return pace; }})()"
    )
    assert page.js(after.format(slow="false", times="[]"))["part"] == 500_000  # a GPU draws all from the beginning
    assert page.js(after.format(slow="false", times=[16.7] * 9)) == {"whole": 500_000, "part": 500_000, "coarse": False}
    assert page.js(after.format(slow="true", times=[33.3] * 9))["part"] == page.js("FIRST_PART")  # as it should be
    assert page.js(after.format(slow="false", times=[100] * 9)) == {"whole": 500_000, "part": 20_000, "coarse": True}
    assert page.js(after.format(slow="false", times=[100] * 9 + [15] * 40))["coarse"] is False


def test_the_theme_follows_the_system_and_a_key_changes_it(opened):
    page = opened()
    before = page.js("document.documentElement.dataset.theme")
    page.key("l")
    assert {before, page.js("document.documentElement.dataset.theme")} == {"light", "dark"}
    page.key("?")
    assert page.js("$('help').open") and "--point" in page.js("$('help').innerText")
    page.js("$('help').close()")

"use strict";
// Assembles the page and handles mouse and keyboard.

const LAYERS = [
  ["cloud", "point cloud", true], ["path", "camera path", true], ["predicted", "predicted", true],
  ["truth", "true boxes", true], ["proposal", "proposals", false], ["labels", "labels", true], ["inside", "see through walls", true],
];

function start() {
  V.times = { start: performance.now() };
  V.data = JSON.parse($("data").textContent);
  document.title = `${V.data.scene} · video3d`;
  $("scene-name").textContent = V.data.scene;
  const about = Object.entries(V.data.about).map(([name, value]) => `${name}: ${value}`);
  $("about").textContent = [...about, `${V.data.cloud.count.toLocaleString("en")} points`].join(" · ");
  $("note-part").hidden = !V.data.notes.length;
  fill($("notes"), V.data.notes.map((text) => make("li", "", text)));
  V.layers = Object.fromEntries(LAYERS.map(([name, , on]) => [name, on]));
  if (!V.data.items.length) {
    V.layers.proposal = V.data.proposals.length > 0 && !V.data.truth.length;
  }
  V.times.parsed = performance.now();
  const stage = (V.stage = makeStage());
  stage.extent = makeCloud(stage);
  V.times.cloud = performance.now();
  makePath(stage);
  makeLines(stage);
  V.draw = drawer(stage);
  makeLayers(stage);
  makeSliders(stage);
  makeFilters(stage);
  drawStrip(stage);
  listen(stage);
  resize(stage);
  const view = roomView(stage);
  stage.camera.position.copy(view.position);
  stage.controls.target.copy(view.target);
  stage.controls.update();
  showItem(stage, 0);
  drawList(stage);
  $("busy").hidden = true;
  V.times.ready = performance.now();
  document.body.dataset.ready = "true";
}

/** Draw once in the next animation frame, however often this is called: a still page costs nothing.
 *
 *  The first image, and on a slow machine those of a movement, have a part of the points; all points follow as soon as
 *  nothing moves. */
function drawer(stage) {
  let waiting = false, refining = 0, whole = false;
  const draw = (now) => {
    waiting = false;
    stage.cloud.visible = V.layers.cloud;
    stage.inside.value = V.layers.inside && V.state.look === null ? 1 : 0;
    stage.path.visible = V.layers.path && V.state.look === null;
    stage.cloud.geometry.setDrawRange(0, whole ? stage.whole : stage.part);
    stage.renderer.render(stage.scene, stage.camera);
    drawOverlay(stage);
    $("labels").hidden = !V.layers.labels;
    if (V.layers.labels) drawLabels(projector(stage));
    V.drawn = (V.drawn || 0) + 1;
    V.complete = whole || stage.part === stage.whole;
    clearTimeout(refining);
    if (!V.complete) refining = setTimeout(() => ask(true), 120);
    // the time that an image of a movement takes decides how many points the next one has
    requestAnimationFrame((next) => {
      const took = next - now;
      if (whole || !waiting) return;
      if (took > 50) stage.part = Math.max(40000, Math.round(stage.part * 0.7));
      else if (took < 25) stage.part = Math.min(stage.whole, Math.round(stage.part * 1.4));
    });
  };
  const ask = (all) => {
    whole = all;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  };
  return () => ask(false);
}

function resize(stage) {
  const { clientWidth: width, clientHeight: height } = $("stage");
  stage.renderer.setSize(width, height, false);
  stage.camera.aspect = width / Math.max(height, 1);
  if (V.state.look === null) stage.camera.updateProjectionMatrix();
  else takePlace(stage, V.data.frames[V.state.look]);
  V.draw();
}

function makeLayers(stage) {
  fill($("layers"), LAYERS.map(([name, text]) => {
    const label = make("label"), box = make("input");
    box.type = "checkbox";
    box.id = `layer-${name}`;
    box.checked = V.layers[name];
    box.addEventListener("change", () => {
      V.layers[name] = box.checked;
      select(stage, V.state.selected);
    });
    label.append(box, document.createTextNode(text));
    if (STYLE[name]) label.append(make("span", `swatch ${name}`));
    return label;
  }));
}

function makeSliders(stage) {
  const size = $("point-size");
  size.addEventListener("input", () => {
    stage.cloud.material.size = (V.data.cloud.voxel * 2.3 * size.value) / 13;
    V.draw();
  });
  const along = (v) => v.dot(stage.up);
  const [bottom, top] = [along(stage.extent.low), along(stage.extent.high)].sort((a, b) => a - b);
  const ceiling = $("ceiling");
  const cut = () => {
    const height = ((top - bottom) * ceiling.value) / 1000;
    const whole = Number(ceiling.value) === 1000;
    stage.ceiling.constant = whole ? 1e6 : bottom + height;
    $("ceiling-at").textContent = whole ? "nothing" : metres(height);
    V.draw();
  };
  ceiling.addEventListener("input", cut);
  cut();
  $("look-opacity").addEventListener("input", () => ($("photo").style.opacity = $("look-opacity").value / 100));
  $("photo").style.opacity = $("look-opacity").value / 100;
}

function listen(stage) {
  new ResizeObserver(() => resize(stage)).observe($("stage"));
  stage.controls.addEventListener("change", () => V.draw());
  stage.controls.addEventListener("start", () => (stage.flight = null));
  let down = null;
  stage.canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
  stage.canvas.addEventListener("pointerup", (event) => {
    const moved = !down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4;
    down = null;
    if (moved || event.button !== 0) return;
    const area = stage.canvas.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * 2 - 1, y = 1 - ((event.clientY - area.top) / area.height) * 2;
    select(stage, boxAt(stage, x, y));
  });
  const free = (view) => { endLook(stage); fly(stage, view); };
  $("view-above").addEventListener("click", () => free(roomView(stage, true)));
  $("view-home").addEventListener("click", () => free(roomView(stage)));
  const focus = () => V.state.selected && (endLook(stage), fly(stage, boxView(stage, V.state.selected.box)));
  $("view-box").addEventListener("click", focus);
  $("look-close").addEventListener("click", () => endLook(stage));
  const turn = (by) => V.state.look !== null && startLook(stage, (V.state.look + by + V.data.frames.length) % V.data.frames.length);
  $("look-prev").addEventListener("click", () => turn(-1));
  $("look-next").addEventListener("click", () => turn(1));
  $("item-prev").addEventListener("click", () => step(stage, -1));
  $("item-next").addEventListener("click", () => step(stage, 1));
  $("strip-all").addEventListener("change", () => drawStrip(stage));
  const keys = {
    Escape: () => (V.state.look === null ? select(stage, null) : endLook(stage)),
    ArrowLeft: () => step(stage, -1), ArrowRight: () => step(stage, 1), ",": () => turn(-1), ".": () => turn(1),
    t: () => free(roomView(stage, true)), h: () => free(roomView(stage)), f: focus,
  };
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { action(); event.preventDefault(); }
  });
}

window.addEventListener("error", (event) => fail(event.message));
function fail(message) {
  $("busy").hidden = false;
  $("busy").className = "failed";
  $("busy").textContent = `The viewer cannot go on: ${message}. It needs WebGL 2; another browser may help.`;
}

try {
  start();
} catch (error) {
  fail(error.message);
  console.error(error);
}

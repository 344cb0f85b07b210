"use strict";
// Assembles the page, and draws when something has changed.

function start() {
  V.times = { start: performance.now() };
  makeTheme();
  V.data = JSON.parse($("data").textContent);
  document.title = `${V.data.scene} · video3d`;
  $("scene-name").textContent = V.data.scene;
  const about = Object.entries(V.data.about).map(([name, value]) => `${name}: ${value}`);
  $("about").textContent = [...about, `${V.data.cloud.count.toLocaleString("en")} points`].join(" · ");
  fillAssumptions();
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
  makeGrid(stage);
  makeLines(stage);
  V.draw = drawer(stage);
  makeLayers(stage);
  makeSliders(stage);
  makeFilters(stage);
  drawStrip(stage);
  makeTimeline(stage);
  makeHelp();
  listen(stage);
  listenToAsker();
  resize(stage);
  stage.fitted = () => roomView(stage);
  takeView(stage, stage.fitted());
  showNamed(stage);
  window.addEventListener("hashchange", () => showNamed(stage));
  drawList(stage);
  $("busy").hidden = true;
  V.times.ready = performance.now();
  document.body.dataset.ready = "true";
}

/** Show what was assumed of the scan: the first part of each note says what, the rest what can be done. */
function fillAssumptions() {
  $("assumed").hidden = !V.data.assumptions.length;
  fill($("assumptions"), V.data.assumptions.map((text) => {
    const row = make("li"), [what, ...rest] = text.split("; ");
    row.append(make("strong", "", what), document.createTextNode(rest.length ? `: ${rest.join("; ")}` : ""));
    return row;
  }));
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
    stage.grid.visible = V.layers.grid && V.state.look === null;
    drawScene(stage, V.layers.shade && (whole || !stage.slow || stage.part === stage.whole));
    drawScale(stage);
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
  if (V.state.look === null && stage.fitted) takeView(stage, stage.fitted());
  markScroll($("strip"));
  V.draw();
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

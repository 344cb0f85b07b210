"use strict";
// Assembles the page, and draws when something has changed.

const REST_MS = 200; // without a new image, after which the view rests

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
  resize(stage);
  stage.fitted = () => roomView(stage);
  takeView(stage, stage.fitted());
  showNamed(stage);
  window.addEventListener("hashchange", () => showNamed(stage));
  drawList(stage);
  $("busy").hidden = true;
  V.times.ready = performance.now();
  document.body.dataset.ready = "true";
  listenToAsker(stage);
}

/** Show what was assumed of the scan: the first part of each note says what, the rest what can be done. */
function fillAssumptions() {
  $("assumed").hidden = !V.data.assumptions.length;
  fill($("assumptions"), V.data.assumptions.map((text) => {
    const row = make("li"), [what, ...rest] = text.split("; ");
    // an option of the command line, such as --align, is not broken after its hyphens
    const remedy = rest.length ? `: ${rest.join("; ")}`.split(/(--[\w-]+)/) : [];
    row.append(make("strong", "", what), ...remedy.map((part) => make("span", part.startsWith("--") ? "whole" : "", part)));
    return row;
  }));
}

/** Draw once in the next animation frame, however often this is called: a still page costs nothing.
 *
 *  The first image, and those of a movement, may have a part of the points; all follow as soon as nothing moves. */
function drawer(stage) {
  let waiting = false, refining = 0, all = false;
  const draw = (now) => {
    waiting = false;
    stage.cloud.visible = V.layers.cloud;
    stage.inside.value = V.layers.inside && V.state.look === null ? 1 : 0;
    stage.path.visible = V.layers.path && V.state.look === null;
    stage.grid.visible = V.layers.grid && V.state.look === null;
    V.complete = drawAtPace(stage, all);
    drawScale(stage);
    drawOverlay(stage);
    $("labels").hidden = !V.layers.labels;
    if (V.layers.labels) drawLabels(projector(stage));
    V.drawn = (V.drawn || 0) + 1;
    clearTimeout(refining);
    if (!V.complete) refining = setTimeout(() => ask(true), REST_MS);
    const moved = !all;
    requestAnimationFrame((next) => { if (moved && waiting) keepPace(stage.pace, next - now); });
  };
  const ask = (whole) => {
    all = whole;
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

"use strict";
// Layers, sliders, buttons, mouse and keyboard.

/** Layers: [name, text, on at first, whether the page has any of it]. */
const LAYERS = [
  ["cloud", "point cloud", true, () => V.data.cloud.count > 0],
  ["path", "camera path", true, () => V.data.frames.length > 0],
  ["predicted", "predictions", true, () => V.data.items.some((item) => item.predicted.length)],
  ["truth", "true boxes", true, () => V.data.truth.length > 0 || V.data.items.some((item) => item.truth.length)],
  ["proposal", "proposals", false, () => V.data.proposals.length > 0 || V.data.items.some((item) => (item.proposals || []).length)],
  ["labels", "labels", true, () => hasBoxes()],
  ["names", "all labels", false, () => LAYERS.find(([name]) => name === "proposal")[3]()],
  ["grid", "metre grid", true, () => V.data.cloud.count > 0],
  ["inside", "see through walls", true, () => V.data.cloud.count > 0],
  ["shade", "shading", true, () => V.data.cloud.count > 0],
];

const hasBoxes = () => ["predicted", "truth", "proposal"].some((kind) => LAYERS.find(([name]) => name === kind)[3]());

const KEYS = [
  ["T", "view from above"], ["H", "view of the whole room"], ["F", "go to the selected box"],
  ["← →", "previous, next question"], [", .", "previous, next frame"], ["Space", "fly along the frames, or stop"],
  ["P", () => `point tool: coordinates; a click ${pointUse()}`], ["M", "measure between two clicks"],
  ["L", "light or dark"], ["Esc", "leave frame or tool; select nothing"], ["?", "this list"],
  ["drag", "turn"], ["right drag, or two fingers", "move"], ["wheel, or pinch", "zoom to the pointer"],
  ["double click on a row", "go to this box"], ["Tab to the view", "then arrows turn, Shift + arrows move, + and - zoom"],
  ["Enter in the view", "select the box, or use the tool, in the middle"],
];

function makeLayers(stage) {
  const there = LAYERS.filter(([, , , exists]) => exists());
  fill($("layers"), there.map(([name, text]) => {
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
  for (const part of document.querySelectorAll(".slide")) part.hidden = !V.data.cloud.count;
}

function makeSliders(stage) {
  const size = $("point-size");
  size.addEventListener("input", () => {
    stage.cloud.material.size = (V.data.cloud.voxel * POINT_SIZE * size.value) / 13;
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

function makeHelp() {
  const list = make("dl");
  for (const [key, text] of KEYS) {
    const name = make("dt");
    name.append(make("kbd", "", key));
    list.append(name, make("dd", "", typeof text === "function" ? text() : text));
  }
  $("tool-point").title = `Coordinates; a click ${pointUse()} (P)`;
  $("help").insertBefore(list, $("help").lastElementChild);
  $("help-open").addEventListener("click", () => $("help").showModal());
}

/** Light or dark: as the system has it, until it is changed here. */
function makeTheme() {
  const system = window.matchMedia("(prefers-color-scheme: light)");
  const set = (light) => (document.documentElement.dataset.theme = light ? "light" : "dark");
  let chosen = false;
  set(system.matches);
  system.addEventListener("change", () => chosen || set(system.matches));
  V.toggleTheme = () => {
    chosen = true;
    set(document.documentElement.dataset.theme === "dark");
  };
  $("theme").addEventListener("click", V.toggleTheme);
}

function listen(stage) {
  new ResizeObserver(() => resize(stage)).observe($("stage"));
  stage.controls.addEventListener("change", () => V.draw());
  stage.controls.addEventListener("start", () => (stage.flight = stage.fitted = null));
  listenToPointer(stage);
  listenToKeys(stage);
  const focus = () => {
    const box = V.state.selected;
    if (box) show(stage, () => boxView(stage, box.box));
  };
  const turn = (by) => V.state.look !== null && startLook(stage, (V.state.look + by + V.data.frames.length) % V.data.frames.length);
  const actions = {
    "view-above": () => show(stage, () => roomView(stage, true)), "view-home": () => show(stage, () => roomView(stage)),
    "view-box": focus, "show-box": focus, "look-close": () => endLook(stage), "look-prev": () => turn(-1), "look-next": () => turn(1),
    "item-prev": () => step(stage, -1), "item-next": () => step(stage, 1),
    "tool-point": () => setTool(stage, "point"), "tool-measure": () => setTool(stage, "measure"),
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  $("strip-all").addEventListener("change", () => drawStrip(stage));
  $("strip").addEventListener("scroll", () => markScroll($("strip")), { passive: true });
  const escape = () => {
    if (V.state.tool) setTool(stage, V.state.tool);
    else if (V.state.look === null) select(stage, null);
    else endLook(stage);
  };
  const keys = {
    Escape: escape, ArrowLeft: actions["item-prev"], ArrowRight: actions["item-next"], ",": () => turn(-1), ".": () => turn(1),
    t: actions["view-above"], h: actions["view-home"], f: focus, p: actions["tool-point"], m: actions["tool-measure"],
    l: V.toggleTheme, " ": () => $("play").click(), "?": () => $("help").showModal(),
  };
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.key !== "Escape") return;
    if (event.key === " " && event.target.tagName === "BUTTON") return; // it presses the button
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { action(); event.preventDefault(); }
  });
}

function listenToPointer(stage) {
  let down = null;
  stage.canvas.addEventListener("pointermove", (event) => {
    hover(stage, event);
    const moved = event.movementX || event.movementY; // the browser repeats the event where the page changed below it
    if (moved && event.pointerType === "mouse" && !event.buttons && !V.state.tool) pointTo(boxAt(stage, ...inView(stage, event)));
  });
  stage.canvas.addEventListener("pointerleave", () => pointTo(null));
  stage.canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
  stage.canvas.addEventListener("pointerup", (event) => {
    const moved = !down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > 4;
    down = null;
    if (moved || event.button !== 0) return;
    const area = stage.canvas.getBoundingClientRect();
    if (useTool(stage, event.clientX - area.left, event.clientY - area.top)) return;
    select(stage, boxAt(stage, ...inView(stage, event)));
  });
}

/** The place of an event in the view, from -1 to 1: x to the right, y upwards. */
function inView(stage, event) {
  const area = stage.canvas.getBoundingClientRect();
  return [((event.clientX - area.left) / area.width) * 2 - 1, 1 - ((event.clientY - area.top) / area.height) * 2];
}

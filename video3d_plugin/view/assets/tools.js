"use strict";
// The point tool (coordinates under the pointer; a click hands them on) and the measuring tool.

const TOOLS = { point: () => `Point tool: a click ${pointUse()}`, measure: () => "Measure: click two points" };
const REACH = 9; // CSS pixels from the pointer within which a point of the cloud is found

/** Return the frontmost point of the cloud near [x, y] (CSS pixels of the stage) as [x, y, z] in metres, or null. */
function pointAt(stage, x, y) {
  const { clientWidth: width, clientHeight: height } = stage.canvas;
  const { origin, step } = V.data.cloud;
  const matrix = new THREE.Matrix4().multiplyMatrices(stage.camera.projectionMatrix, stage.camera.matrixWorldInverse);
  const m = matrix.multiply(stage.cloud.matrixWorld).elements;
  const positions = stage.cloud.geometry.getAttribute("position").array, facing = stage.cloud.geometry.getAttribute("facing").array;
  const eye = stage.camera.position, up = stage.up, top = stage.ceiling.constant, inside = stage.inside.value > 0.5;
  const nx = (x / width) * 2 - 1, ny = 1 - (y / height) * 2, rx = (2 * REACH) / width, ry = (2 * REACH) / height;
  const near = [];
  for (let i = 0; i < stage.pace.whole * 3; i += 3) {
    const a = positions[i], b = positions[i + 1], c = positions[i + 2];
    const w = m[3] * a + m[7] * b + m[11] * c + m[15];
    if (w <= NEAR) continue;
    const dx = ((m[0] * a + m[4] * b + m[8] * c + m[12]) / w - nx) / rx;
    if (dx > 1 || dx < -1) continue;
    const dy = ((m[1] * a + m[5] * b + m[9] * c + m[13]) / w - ny) / ry;
    if (dx * dx + dy * dy > 1) continue;
    const p = [origin[0] + step * a, origin[1] + step * b, origin[2] + step * c];
    if (p[0] * up.x + p[1] * up.y + p[2] * up.z > top) continue;
    const to = [eye.x - p[0], eye.y - p[1], eye.z - p[2]];
    const cosine = (facing[i] * to[0] + facing[i + 1] * to[1] + facing[i + 2] * to[2]) / (127 * Math.hypot(...to));
    if (inside && cosine < -0.12) continue;
    near.push({ w, off: dx * dx + dy * dy, p });
  }
  if (!near.length) return null;
  const front = Math.min(...near.map((n) => n.w));
  // of the points on the frontmost surface, the one closest to the pointer
  return near.filter((n) => n.w < front * 1.02 + 0.03).reduce((best, n) => (n.off < best.off ? n : best)).p;
}

/** What a click of the point tool does: a page that asks questions takes the point, else it is copied. */
const pointUse = () => (V.data.asks ? "sets the point of the question" : "copies --point x y z");

function setTool(stage, name) {
  V.state.tool = V.state.tool === name ? null : name;
  V.state.measured = [];
  V.state.hover = null;
  for (const tool of Object.keys(TOOLS)) $(`tool-${tool}`).setAttribute("aria-pressed", String(V.state.tool === tool));
  stage.canvas.classList.toggle("aiming", V.state.tool !== null);
  say(V.state.tool ? TOOLS[V.state.tool]() : "");
  V.draw();
}

/** Show what lies under the pointer; at most once in an animation frame. */
function hover(stage, event) {
  if (!V.state.tool || V.hovering) return;
  V.hovering = true;
  requestAnimationFrame(() => {
    V.hovering = false;
    if (!V.state.tool) return;
    const area = stage.canvas.getBoundingClientRect();
    aim(stage, event.clientX - area.left, event.clientY - area.top);
  });
}

/** Show the coordinates of the point at [x, y]. */
function aim(stage, x, y) {
  V.state.hover = pointAt(stage, x, y);
  say(V.state.hover ? `x, y, z  ${triple(V.state.hover)} m` : "no point here");
  V.draw();
}

/** Use the tool at [x, y]; return whether there was one. */
function useTool(stage, x, y) {
  if (!V.state.tool) return false;
  const point = pointAt(stage, x, y);
  if (!point) {
    say("no point of the cloud here");
  } else if (V.state.tool === "point") {
    V.state.hover = point;
    takePoint(point);
  } else {
    V.state.measured = V.state.measured.length === 1 ? [V.state.measured[0], point] : [point];
    const [a, b] = V.state.measured;
    say(b ? measured(a, b) : "and the second point");
  }
  V.draw();
  return true;
}

/** Hand a point to the page that asks questions (`video3d serve`), or copy it for the command line. */
function takePoint(point) {
  const place = point.map((v) => v.toFixed(2)).join(" ");
  if (V.data.asks) {
    V.state.asking = point;
    window.parent.postMessage({ point: place }, "*"); // the server allows no other site's page as the parent
    return say(`the question is about the point ${place}`);
  }
  const text = `--point ${place}`;
  copy(text).then((done) => say(done ? `copied: ${text}` : text));
}

function measured(a, b) {
  const off = b.map((v, i) => v - a[i]);
  return `${metres(Math.hypot(...off))}  (along x, y, z: ${triple(off.map(Math.abs))} m)`;
}

/** Copy a text; resolves to whether that was possible. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (refused) {
    const field = make("textarea", "", text); // a sandboxed frame has no clipboard API
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

/** Say a line below the view; "" hides it. */
function say(text) {
  $("told").hidden = !text;
  $("told").textContent = text;
}

/** Draw the point of the question, the point under the pointer, and the measured line with its length. */
function drawTool(stage, pen, project) {
  const ends = V.state.measured.map((p) => project(p));
  const dot = (at) => {
    if (!at) return;
    pen.beginPath();
    pen.arc(at[0], at[1], 5, 0, 7);
    pen.fillStyle = "#ff4fc8";
    pen.fill();
    pen.strokeStyle = "#fff";
    pen.lineWidth = 2;
    pen.stroke();
  };
  if (ends[0] && ends[1]) {
    pen.strokeStyle = "#ff4fc8";
    pen.lineWidth = 3;
    pen.beginPath();
    pen.moveTo(...ends[0]);
    pen.lineTo(...ends[1]);
    pen.stroke();
  }
  [...ends, ...[V.state.hover, V.state.asking].map((point) => point && project(point))].forEach(dot);
  if (V.state.tool && V.state.steered) drawAim(stage, pen);
}

/** Draw a cross in the middle of the view, where Enter uses the tool. */
function drawAim(stage, pen) {
  const x = stage.canvas.clientWidth / 2, y = stage.canvas.clientHeight / 2;
  for (const [color, width] of [["#fff", 4], ["#b0137f", 2]]) {
    pen.strokeStyle = color;
    pen.lineWidth = width;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      pen.moveTo(x - 11 * dx, y - 11 * dy);
      pen.lineTo(x + 11 * dx, y + 11 * dy);
    }
    pen.stroke();
  }
}

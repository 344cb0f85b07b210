"use strict";
// The view through a frame's camera: its photo, with the boxes projected into it.

/** Return the frame's position on the stage, in CSS pixels, and the scale from its pixels. */
function frameSpot(stage, frame) {
  const [height, width] = frame.size;
  const { clientWidth, clientHeight } = stage.canvas;
  const scale = Math.min((clientWidth * 0.86) / width, (clientHeight * 0.8) / height);
  return { scale, left: (clientWidth - width * scale) / 2, top: (clientHeight - height * scale) / 2 + 12, width: width * scale, height: height * scale };
}

/** The pose of a frame: x right, y down, z forward there; three.js looks along -z with y up. */
function matrixOf(frame) {
  const p = frame.pose;
  return new THREE.Matrix4().set(p[0], -p[1], -p[2], p[3], p[4], -p[5], -p[6], p[7], p[8], -p[9], -p[10], p[11], 0, 0, 0, 1);
}

const freeView = (stage) => ({ position: stage.camera.position.clone(), target: stage.controls.target.clone() });

/** Set the camera's pose and projection so that the frame lies at `frameSpot`. */
function takePlace(stage, frame, pose = matrixOf(frame)) {
  const { camera } = stage, spot = frameSpot(stage, frame);
  const [fx, fy, cx, cy] = frame.camera.map((v) => v * spot.scale);
  const { clientWidth: W, clientHeight: H } = stage.canvas;
  const near = NEAR, far = FAR;
  // pixel centres lie at integers, so the image's edge is half a pixel further out
  const u0 = cx + spot.scale / 2 + spot.left, v0 = cy + spot.scale / 2 + spot.top;
  camera.matrixAutoUpdate = false;
  camera.matrix.copy(pose);
  camera.matrixWorldNeedsUpdate = true;
  camera.updateMatrixWorld(true);
  camera.projectionMatrix.set(
    (2 * fx) / W, 0, 1 - (2 * u0) / W, 0,
    0, (2 * fy) / H, (2 * v0) / H - 1, 0,
    0, 0, -(far + near) / (far - near), (-2 * far * near) / (far - near),
    0, 0, -1, 0);
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  const photo = $("photo");
  for (const side of ["left", "top", "width", "height"]) photo.style[side] = `${spot[side]}px`;
}

function startLook(stage, index) {
  const frame = V.data.frames[index];
  if (V.state.look === null) stage.free = freeView(stage);
  stage.flight = null;
  $("timeline").value = index;
  V.state.look = index;
  stage.controls.enabled = false;
  $("photo").src = imageOf(frame);
  $("photo").alt = `frame ${frame.name}`;
  $("photo").hidden = $("look-bar").hidden = false;
  $("look-name").textContent = frame.name;
  takePlace(stage, frame);
  markFrames();
  V.draw();
}

function endLook(stage) {
  if (V.state.look === null) return;
  stop(stage);
  V.state.look = null;
  $("photo").hidden = $("look-bar").hidden = true;
  stage.camera.matrixAutoUpdate = true;
  stage.camera.position.copy(stage.free.position);
  stage.controls.target.copy(stage.free.target);
  stage.controls.enabled = true;
  stage.camera.updateProjectionMatrix();
  stage.controls.update();
  if (stage.fitted) takeView(stage, stage.fitted()); // the window may have changed its size meanwhile
  markFrames();
  V.draw();
}

/** Draw what lies over the picture: boxes over a photo, which hides the 3D lines, else axes; and the tool's points. */
function drawOverlay(stage) {
  const { clientWidth: width, clientHeight: height } = stage.canvas, looks = V.state.look !== null;
  $("axes").hidden = looks;
  if (!looks) drawAxes(stage, penOf(stage, $("axes"), AXES_SIZE, AXES_SIZE));
  $("show-box").hidden = looks || !V.state.selected || isInView(stage, V.state.selected.box);
  $("overlay").hidden = !looks && !V.state.tool && !V.state.asking; // else it would be composed with every image
  if ($("overlay").hidden) return;
  const pen = penOf(stage, $("overlay"), width, height), project = projector(stage);
  drawTool(stage, pen, project);
  if (looks) drawBoxesOnPhoto(pen, project);
}

/** Clear a canvas of this size in CSS pixels, and return its context in these. */
function penOf(stage, canvas, width, height) {
  const { ratio } = stage, pen = canvas.getContext("2d");
  const sides = [width, height].map((side) => Math.round(side * ratio));
  if (canvas.width !== sides[0] || canvas.height !== sides[1]) [canvas.width, canvas.height] = sides;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/** Edges are clipped in front of the camera. */
function drawBoxesOnPhoto(pen, project) {
  const frame = V.data.frames[V.state.look];
  const order = [...V.boxes].filter(isShown).sort((a, b) => weight(a) - weight(b));
  for (const box of order) {
    const style = STYLE[box.kind], selected = box === V.state.selected;
    pen.globalAlpha = box.kind === "proposal" && !selected ? 0.45 : 1;
    pen.beginPath();
    for (const [a, b] of edges(box.box)) {
      const cut = inFront(frame, a, b);
      const ends = cut && cut.map(project);
      if (!ends || !ends[0] || !ends[1]) continue;
      pen.moveTo(...ends[0]);
      pen.lineTo(...ends[1]);
    }
    const strokes = selected ? [["#ffffff", 8], [css(style.color), 4]] : [[css(style.color), style.width]];
    for (const [color, width] of strokes) {
      pen.strokeStyle = color;
      pen.lineWidth = width;
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}

const weight = (box) => (box === V.state.selected ? 3 : box.kind === "proposal" ? 1 : 2);

const depthIn = (frame, p) => {
  const m = frame.pose;
  return m[2] * (p[0] - m[3]) + m[6] * (p[1] - m[7]) + m[10] * (p[2] - m[11]);
};

/** Return the part of the edge a-b that is at least 5 cm in front of the camera; null if there is none. */
function inFront(frame, a, b, near = 0.05) {
  const da = depthIn(frame, a), db = depthIn(frame, b);
  if (da < near && db < near) return null;
  if (da >= near && db >= near) return [a, b];
  const t = (near - da) / (db - da);
  const cut = a.map((v, i) => v + t * (b[i] - v));
  return da < near ? [cut, b] : [a, cut];
}

/** Return whether the box's centre lies in the frame's image. */
function sees(frame, box) {
  const m = frame.pose, d = [box[0] - m[3], box[1] - m[7], box[2] - m[11]];
  const [x, y, z] = [0, 1, 2].map((c) => m[c] * d[0] + m[4 + c] * d[1] + m[8 + c] * d[2]);
  const [fx, fy, cx, cy] = frame.camera;
  if (z < 0.1) return false;
  const u = (fx * x) / z + cx, v = (fy * y) / z + cy;
  return u >= -0.5 && v >= -0.5 && u < frame.size[1] - 0.5 && v < frame.size[0] - 0.5;
}

/** Fill the film strip with the frames that the model sees, or with all frames. */
function drawStrip(stage) {
  const all = $("strip-all").checked || !V.data.chosen.length;
  const indices = all ? V.data.frames.map((_, i) => i) : [...V.data.chosen].sort((a, b) => a - b);
  const chosen = new Set(V.data.chosen);
  const count = V.data.chosen.length;
  $("strip-title").textContent = count
    ? `the model sees ${count} of ${V.data.frames.length} frames${V.data.sampler ? ` (${V.data.sampler})` : ""}`
    : `${V.data.frames.length} frames`;
  fill($("strip"), indices.map((index) => {
    const frame = V.data.frames[index];
    const button = make("button", chosen.has(index) ? "frame chosen" : "frame");
    button.dataset.index = index;
    button.title = `Look through frame ${frame.name}`;
    const image = make("img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    button.append(image, make("span", "", frame.name));
    button.addEventListener("click", () => (V.state.look === index ? endLook(stage) : startLook(stage, index)));
    return button;
  }));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      entry.target.querySelector("img").src = imageOf(V.data.frames[entry.target.dataset.index]);
      watch.unobserve(entry.target);
    }
  }, { root: $("strip"), rootMargin: "400px" });
  for (const button of $("strip").children) watch.observe(button);
  $("strip-legend").hidden = !count;
  markScroll($("strip"));
  markFrames();
}

/** Mark the sides on which more can be scrolled to. */
function markScroll(element) {
  const rest = element.scrollWidth - element.clientWidth - element.scrollLeft;
  element.classList.toggle("more-left", element.scrollLeft > 4);
  element.classList.toggle("more-right", rest > 4);
}

function markFrames() {
  const box = V.state.selected;
  $("legend-sees").hidden = !box;
  for (const button of $("strip").children) {
    const index = Number(button.dataset.index);
    button.setAttribute("aria-current", String(V.state.look === index));
    button.classList.toggle("sees", Boolean(box) && sees(V.data.frames[index], box.box));
  }
}

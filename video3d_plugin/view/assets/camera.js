"use strict";
// Views of the free camera that fit what they show: the room, from above, a box; and the movement to a view.

const MARGIN = { left: 28, right: 28, top: 56, bottom: 44 }; // CSS pixels that stay free around what is shown

/** Return the nearest view from `direction` in which all points lie inside the margins.
 *
 *  A point (x right, y up, z forward, from the middle of the points) is inside if |x - a| <= (z + d) * slope, for a
 *  camera that is moved by a and stands d back: two linear bounds for each axis, of which the tightest decide. */
function fitting(stage, points, direction) {
  const away = direction.clone().normalize();
  const right = new THREE.Vector3().crossVectors(stage.up, away).normalize();
  const above = new THREE.Vector3().crossVectors(away, right);
  const centre = new THREE.Box3().setFromPoints(points).getCenter(new THREE.Vector3());
  const { clientWidth: width, clientHeight: height } = stage.canvas;
  const tall = Math.tan((stage.camera.fov / 2) * (Math.PI / 180)), wide = (tall * width) / Math.max(height, 1);
  const free = (pixels, of) => Math.max(0.3, 1 - (2 * pixels) / Math.max(of, 1));
  const rows = points.map((p) => p.clone().sub(centre)).map((p) => [p.dot(right), p.dot(above), -p.dot(away)]);
  const bounds = [
    [0, wide * free(MARGIN.right, width), wide * free(MARGIN.left, width)],
    [1, tall * free(MARGIN.top, height), tall * free(MARGIN.bottom, height)],
  ].map(([axis, high, low]) => {
    const most = Math.max(...rows.map((r) => r[axis] - r[2] * high));
    const least = Math.min(...rows.map((r) => r[axis] + r[2] * low));
    return { high, low, most, least, back: (most - least) / (high + low) };
  });
  const nearest = Math.max(...rows.map((r) => -r[2])) + 0.1; // all points in front of the camera
  const back = Math.max(nearest, ...bounds.map((b) => b.back));
  const [a, b] = bounds.map((bound) => (bound.most - back * bound.high + bound.least + back * bound.low) / 2);
  const target = centre.clone().addScaledVector(right, a).addScaledVector(above, b);
  return { target, position: target.clone().addScaledVector(away, back) };
}

function cornersOf(low, high) {
  return [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => new THREE.Vector3(
    bits & 1 ? high.x : low.x, bits & 2 ? high.y : low.y, bits & 4 ? high.z : low.z));
}

/** The room (1 to 99 % of its points along each axis), from a corner or from above. */
function roomView(stage, fromAbove = false) {
  const { low, high, points } = stage.extent, up = stage.up;
  const side = Math.abs(up.z) > 0.5 ? new THREE.Vector3(-0.55, -0.8, 0) : new THREE.Vector3(-0.55, 0, 0.8);
  const direction = fromAbove ? up.clone().addScaledVector(side, 0.02) : side.clone().addScaledVector(up, 0.95);
  return fitting(stage, points.length ? points : cornersOf(low, high), direction);
}

/** A box with as much again around it, from where the camera is. */
function boxView(stage, box) {
  const centre = new THREE.Vector3(...box.slice(0, 3));
  const half = new THREE.Vector3(...box.slice(3).map((side) => Math.max(Math.abs(side), 0.3)));
  const away = stage.camera.position.clone().sub(stage.controls.target);
  return fitting(stage, cornersOf(centre.clone().sub(half), centre.clone().add(half)), away);
}

/** Fly to the view that `make` returns, and take it again when the window's size changes, until the user moves. */
function show(stage, make) {
  endLook(stage);
  fly(stage, make());
  stage.fitted = make;
}

function takeView(stage, view) {
  stage.camera.position.copy(view.position);
  stage.controls.target.copy(view.target);
  stage.controls.update();
}

/** Move the free camera to a view; at once if the user prefers reduced motion. */
function fly(stage, view, done = () => {}) {
  const from = { position: stage.camera.position.clone(), target: stage.controls.target.clone() };
  const start = performance.now(), lasts = prefersStill() ? 0 : 450;
  const mine = (stage.flight = {});
  const tick = (now) => {
    if (stage.flight !== mine) return;
    const t = lasts ? Math.min(1, Math.max(0, now - start) / lasts) : 1;
    const eased = t * t * (3 - 2 * t);
    takeView(stage, {
      position: from.position.clone().lerp(view.position, eased), target: from.target.clone().lerp(view.target, eased),
    });
    V.draw();
    if (t < 1) return requestAnimationFrame(tick);
    stage.flight = null;
    done();
  };
  tick(start);
}

/** Return whether the middle of a box is in the picture of the free camera. */
function isInView(stage, box) {
  const at = projector(stage)(box), { clientWidth: width, clientHeight: height } = stage.canvas;
  return at !== null && at[0] >= 0 && at[0] <= width && at[1] >= 0 && at[1] <= height;
}

const prefersStill = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden;

/** Return a function from a world point to [x, y] in CSS pixels of the stage; null behind the camera. */
function projector(stage) {
  const { clientWidth: width, clientHeight: height } = stage.canvas;
  const matrix = new THREE.Matrix4().multiplyMatrices(stage.camera.projectionMatrix, stage.camera.matrixWorldInverse);
  const v = new THREE.Vector4();
  return (point) => {
    v.set(point[0], point[1], point[2], 1).applyMatrix4(matrix);
    if (v.w <= 0.02) return null;
    return [((v.x / v.w + 1) / 2) * width, ((1 - v.y / v.w) / 2) * height];
  };
}

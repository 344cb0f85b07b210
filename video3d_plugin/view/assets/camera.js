"use strict";
// Views of the free camera: the room, from above, a box; and the movement to a view.

function roomView(stage, fromAbove = false) {
  const { low, high } = stage.extent;
  const centre = low.clone().add(high).multiplyScalar(0.5);
  const size = high.clone().sub(low);
  const up = stage.up;
  const radius = Math.max(size.length() / 2, 0.5);
  const side = Math.abs(up.z) > 0.5 ? new THREE.Vector3(-0.55, -0.8, 0) : new THREE.Vector3(-0.55, 0, 0.8);
  const direction = fromAbove ? up.clone().addScaledVector(side, 0.02) : side.clone().addScaledVector(up, 0.95);
  const half = Math.tan(((stage.camera.fov / 2) * Math.PI) / 180) * Math.min(1, stage.camera.aspect);
  const distance = (radius * (fromAbove ? 0.8 : 0.68)) / half;
  return { target: centre, position: centre.clone().addScaledVector(direction.normalize(), distance) };
}

function boxView(stage, box) {
  const target = new THREE.Vector3(...box.slice(0, 3));
  const radius = Math.max(new THREE.Vector3(...box.slice(3)).length() / 2, 0.4);
  const away = stage.camera.position.clone().sub(stage.controls.target).normalize();
  return { target, position: target.clone().addScaledVector(away, radius * 4.2) };
}

/** Move the free camera to a view; at once if the user prefers reduced motion. */
function fly(stage, view, done = () => {}) {
  const from = { position: stage.camera.position.clone(), target: stage.controls.target.clone() };
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden;
  const start = performance.now(), lasts = still ? 0 : 450;
  const mine = (stage.flight = {});
  const tick = (now) => {
    if (stage.flight !== mine) return;
    const t = lasts ? Math.min(1, Math.max(0, now - start) / lasts) : 1;
    const eased = t * t * (3 - 2 * t);
    stage.camera.position.lerpVectors(from.position, view.position, eased);
    stage.controls.target.lerpVectors(from.target, view.target, eased);
    stage.controls.update();
    V.draw();
    if (t < 1) requestAnimationFrame(tick);
    else done();
  };
  tick(still ? start : performance.now());
}

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

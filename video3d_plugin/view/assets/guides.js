"use strict";
// What shows direction and size: a metre grid on the floor, an axes gizmo and a scale bar.

/** Lines one metre apart, 2 cm below the lowest 1 % of the points; they reach one metre beyond the room. */
function makeGrid(stage) {
  const { low, high } = stage.extent, up = stage.up;
  const vertical = ["x", "y", "z"].find((axis) => Math.abs(up[axis]) > 0.5);
  const [a, b] = ["x", "y", "z"].filter((axis) => axis !== vertical);
  const ground = up[vertical] > 0 ? low[vertical] - 0.02 : high[vertical] + 0.02;
  const range = (axis) => [Math.floor(low[axis]) - 1, Math.ceil(high[axis]) + 1];
  const [a0, a1] = range(a), [b0, b1] = range(b);
  const lines = [];
  const put = (first, second) => {
    const p = new THREE.Vector3();
    p[vertical] = ground;
    p[a] = first;
    p[b] = second;
    lines.push(p.x, p.y, p.z);
  };
  if ((a1 - a0) * (b1 - b0) < 1e6) {
    for (let i = a0; i <= a1; i++) { put(i, b0); put(i, b1); }
    for (let i = b0; i <= b1; i++) { put(a0, i); put(a1, i); }
  }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(lines, 3));
  stage.grid = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: 0x808b99, transparent: true, opacity: 0.35 }));
  stage.scene.add(stage.grid);
}

const AXES = [["x", [1, 0, 0], "#e5484d"], ["y", [0, 1, 0], "#30a46c"], ["z", [0, 0, 1], "#3b82f6"]];

const AXES_SIZE = 88; // CSS pixels, as in viewer.css

/** Draw the directions of the world's axes. */
function drawAxes(stage, pen) {
  const x0 = AXES_SIZE / 2, y0 = AXES_SIZE / 2, length = 28;
  const rotation = new THREE.Matrix4().extractRotation(stage.camera.matrixWorldInverse);
  const ends = AXES.map(([name, axis, color]) => ({ name, color, at: new THREE.Vector3(...axis).applyMatrix4(rotation) }));
  ends.sort((a, b) => a.at.z - b.at.z); // far ones first
  pen.font = "600 11px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const { name, color, at } of ends) {
    const x = x0 + at.x * length, y = y0 - at.y * length;
    pen.strokeStyle = pen.fillStyle = color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x, y);
    pen.stroke();
    pen.beginPath();
    pen.arc(x, y, 8, 0, 7);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.fillText(name, x, y + 0.5);
  }
}

const BARS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];

/** Set the scale bar to a round length, as it appears at the distance of the point that the camera turns around. */
function drawScale(stage) {
  const bar = $("scale-bar");
  bar.hidden = V.state.look !== null;
  if (bar.hidden) return;
  const distance = stage.camera.position.distanceTo(stage.controls.target);
  const perMetre = stage.canvas.clientHeight / (2 * distance * Math.tan((stage.camera.fov / 2) * (Math.PI / 180)));
  const metresShown = BARS.filter((m) => m * perMetre <= 140).pop() || BARS[0];
  bar.style.width = `${Math.round(metresShown * perMetre)}px`;
  bar.textContent = metresShown < 1 ? `${Math.round(metresShown * 100)} cm` : `${metresShown} m`;
}

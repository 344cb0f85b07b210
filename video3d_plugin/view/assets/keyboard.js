"use strict";
// Moving the view, selecting and using a tool with the keyboard, while the view has the focus.

const TURN = Math.PI / 36, MOVE = 0.06, NEARER = 0.87; // for each key press; MOVE as a part of the distance
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const FARTHEST_UP = 0.05; // radians between the line of sight and the vertical

/** Arrow keys steer the view once it was reached by keyboard; after a click on it they step through the questions. */
function listenToKeys(stage) {
  const { canvas } = stage;
  const steer = (on) => () => {
    V.state.steered = on && canvas.matches(":focus-visible");
    V.draw();
  };
  canvas.addEventListener("focus", steer(true));
  canvas.addEventListener("blur", steer(false));
  canvas.addEventListener("pointerdown", steer(false));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !V.state.steered || !steerWith(stage, event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** Do what a key means in the view; return whether it means something. */
function steerWith(stage, event) {
  const arrow = ARROWS[event.key], zoom = { "+": NEARER, "=": NEARER, "-": 1 / NEARER }[event.key];
  const middle = [stage.canvas.clientWidth / 2, stage.canvas.clientHeight / 2];
  if (event.key === "Enter") {
    if (!useTool(stage, ...middle)) select(stage, boxAt(stage, 0, 0));
    return true;
  }
  if (V.state.look !== null || !(arrow || zoom)) return false;
  stage.flight = stage.fitted = null;
  takeView(stage, zoom ? zoomed(stage, zoom) : event.shiftKey ? moved(stage, ...arrow) : turned(stage, ...arrow));
  V.draw();
  if (V.state.tool) aim(stage, ...middle);
  return true;
}

function zoomed(stage, factor) {
  const { target } = stage.controls;
  return { target: target.clone(), position: stage.camera.position.clone().sub(target).multiplyScalar(factor).add(target) };
}

/** The camera turned around what it looks at, as by a drag in the direction of the arrow. */
function turned(stage, right, up) {
  const { target } = stage.controls, away = stage.camera.position.clone().sub(target);
  away.applyAxisAngle(stage.up, right * TURN);
  const angle = away.angleTo(stage.up);
  const next = Math.min(Math.PI - FARTHEST_UP, Math.max(FARTHEST_UP, angle - up * TURN));
  away.applyAxisAngle(new THREE.Vector3().crossVectors(stage.up, away).normalize(), next - angle);
  return { target: target.clone(), position: away.add(target) };
}

/** The camera moved sideways or upwards with what it looks at. */
function moved(stage, right, up) {
  const { target } = stage.controls, { position, matrixWorld } = stage.camera;
  const [sideways, upwards] = [0, 1].map((column) => new THREE.Vector3().setFromMatrixColumn(matrixWorld, column));
  const by = sideways.multiplyScalar(right).addScaledVector(upwards, up).multiplyScalar(MOVE * position.distanceTo(target));
  return { target: target.clone().add(by), position: position.clone().add(by) };
}

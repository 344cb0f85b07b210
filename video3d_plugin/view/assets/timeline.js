"use strict";
// The timeline: the camera flies along the path of the frames, and stops in one.

const FRAMES_PER_S = 5;

/** Set the free camera to the pose at `t`: frame numbers, with poses between frames interpolated. */
function flyAlong(stage, t) {
  const frames = V.data.frames, first = Math.floor(t), second = Math.min(first + 1, frames.length - 1);
  const [a, b] = [first, second].map((i) => poseOf(frames[i]));
  if (V.state.look === null) stage.free = freeView(stage);
  stage.fitted = stage.flight = null;
  V.state.look = Math.round(t);
  stage.controls.enabled = false;
  $("photo").hidden = true;
  $("look-bar").hidden = false;
  $("look-name").textContent = frames[V.state.look].name;
  takePlace(stage, frames[V.state.look], new THREE.Matrix4().compose(
    a.position.lerp(b.position, t - first), a.turn.slerp(b.turn, t - first), new THREE.Vector3(1, 1, 1)));
  markFrames();
  V.draw();
}

/** The pose of a frame for three.js, whose cameras look along -z with y up. */
function poseOf(frame) {
  const matrix = matrixOf(frame), position = new THREE.Vector3(), turn = new THREE.Quaternion();
  matrix.decompose(position, turn, new THREE.Vector3());
  return { position, turn };
}

function makeTimeline(stage) {
  const slider = $("timeline"), last = V.data.frames.length - 1;
  $("timeline-part").hidden = last < 1;
  slider.max = last;
  slider.addEventListener("input", () => { stop(stage); flyAlong(stage, Number(slider.value)); });
  slider.addEventListener("change", () => startLook(stage, Math.round(slider.value)));
  $("play").addEventListener("click", () => (V.playing ? stop(stage, true) : play(stage)));
}

function play(stage) {
  const slider = $("timeline"), last = Number(slider.max), mine = (V.playing = {});
  let at = Number(slider.value) >= last ? 0 : Number(slider.value), before = performance.now();
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Stop");
  const tick = (now) => {
    if (V.playing !== mine) return;
    at = Math.min(last, at + (Math.max(0, now - before) / 1000) * FRAMES_PER_S);
    before = now;
    slider.value = at;
    flyAlong(stage, at);
    if (at < last) requestAnimationFrame(tick);
    else stop(stage, true);
  };
  requestAnimationFrame(tick);
}

/** Stop the flight along the path, and with `stay` show the photo of the nearest frame. */
function stop(stage, stay = false) {
  if (!V.playing) return;
  V.playing = null;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Play");
  if (stay) startLook(stage, Math.round($("timeline").value));
}

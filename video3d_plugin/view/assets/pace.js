"use strict";
// How much is drawn while the view moves: as many points as the machine draws thirty times a second. Once the view
// rests, everything is drawn. The points are shuffled, so that any part of them shows the whole room.

const IMAGE_MS = 1000 / 30;
const FIRST_PART = 80000, LEAST_PART = 20000; // points; the first without a GPU
const COARSE_RATIO = 0.5; // of the resolution

/** What is drawn of `count` points while the view moves: how many (`part`), and whether at half the resolution. */
function makePace(count, slow) {
  return { whole: count, part: slow ? Math.min(count, FIRST_PART) : count, coarse: false };
}

/** Adapt to the milliseconds from one image of a movement to the next. */
function keepPace(pace, tookMs) {
  const { whole, part } = pace, least = Math.min(whole, LEAST_PART);
  if (tookMs > 1.3 * IMAGE_MS) {
    if (part === least) pace.coarse = true; // what is left to draw is pixels
    pace.part = Math.max(least, Math.round(part * Math.max(0.5, IMAGE_MS / tookMs)));
  } else if (tookMs < 0.8 * IMAGE_MS) {
    if (part === whole) pace.coarse = false;
    pace.part = Math.min(whole, Math.round(part * 1.25));
  }
}

/** Draw the cloud and the lines: all of it, or what the pace allows; return whether that was all. */
function drawAtPace(stage, all) {
  const { pace, renderer } = stage, complete = all || (pace.part === pace.whole && !pace.coarse && !stage.slow);
  const ratio = stage.ratio * (pace.coarse && !complete ? COARSE_RATIO : 1);
  if (renderer.getPixelRatio() !== ratio) renderer.setPixelRatio(ratio);
  stage.cloud.geometry.setDrawRange(0, complete ? pace.whole : pace.part);
  drawScene(stage, V.layers.shade && (complete || !(stage.slow || pace.coarse)));
  return complete;
}

"use strict";
// Boxes in the scene: lines that stay visible through the cloud, labels, and selection with a click.

const STYLE = {
  proposal: { color: 0x7f93ad, width: 1, behind: 0.12, front: 0.45 },
  truth: { color: 0x35d6a0, width: 3, behind: 0.7, front: 1 },
  predicted: { color: 0xffb020, width: 3, behind: 0.7, front: 1 },
  halo: { color: 0xffffff, width: 9, behind: 0.45, front: 0.8 },
};
const LABELLED = 24; // proposals at most that have a label at once

const css = (color) => `#${color.toString(16).padStart(6, "0")}`;

/** The boxes of the current item (or of the scene): {kind, box, name, score, confidence, iou}. */
function currentBoxes() {
  const item = V.data.items[V.state.item];
  const boxes = [];
  const best = item ? item.predicted : [];
  const truth = item ? item.truth.map((box) => ({ box, label: "" })) : V.data.truth;
  truth.forEach((t, i) => boxes.push({ kind: "truth", box: t.box, name: t.label || labelOfTruth(t.box) || `true ${i + 1}` }));
  best.forEach((p, i) => {
    const label = labelOfProposal(p.box);
    boxes.push({ kind: "predicted", name: (best.length > 1 ? `predicted ${i + 1}` : "predicted") + (label && `: ${label}`), ...p });
  });
  if (item && item.truth.length) {
    for (const b of boxes) if (b.kind === "predicted" && b.iou == null) b.iou = Math.max(...item.truth.map((t) => overlap(b.box, t)));
  }
  const proposals = (item && item.proposals) || V.data.proposals;
  const ofScene = !(item && item.proposals);
  const sure = (item ? item.confidences : V.data.proposalScores) || [], scores = item ? item.scores : sure;
  const nameOf = (i) => (ofScene && V.data.proposalLabels[i]) || `proposal ${i}`;
  const order = proposals.map((_, i) => i);
  if (scores && scores.length) order.sort((a, b) => scores[b] - scores[a]);
  order.forEach((i) => {
    const same = boxes.find((b) => b.kind === "predicted" && isSame(b.box, proposals[i]));
    if (same) return (same.score ??= scores?.[i] ?? null); // the chosen box is one of the proposals: one row
    boxes.push({ kind: "proposal", box: proposals[i], name: nameOf(i), score: scores?.[i] ?? null, confidence: sure[i] });
  });
  return boxes;
}

const isSame = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < 1e-3);

/** The annotated label of a true box; "" if the scene has none. */
function labelOfTruth(box) {
  const same = V.data.truth.find((t) => isSame(t.box, box));
  return same ? same.label : "";
}

/** The label of the scene's proposal that a predicted box is; "" if it has none. */
function labelOfProposal(box) {
  const at = V.data.proposals.findIndex((p) => isSame(p, box));
  return V.data.proposalLabels[at] || "";
}

function makeLines(stage) {
  const group = new THREE.Group();
  const layers = {};
  for (const [kind, style] of Object.entries(STYLE)) {
    const pair = [false, true].map((front) => {
      const material = new THREE.LineMaterial({
        color: style.color, linewidth: style.width, transparent: true, depthWrite: false,
        opacity: front ? style.front : style.behind, depthTest: front,
      });
      const lines = new THREE.LineSegments2(new THREE.LineSegmentsGeometry(), material);
      lines.frustumCulled = false;
      lines.renderOrder = { halo: 2, proposal: 1 }[kind] || 3;
      lines.visible = false;
      group.add(lines);
      return lines;
    });
    layers[kind] = pair;
  }
  const fill = new THREE.Mesh(new THREE.BoxGeometry(1, 1, 1), new THREE.MeshBasicMaterial({
    transparent: true, opacity: 0.16, depthWrite: false, side: THREE.DoubleSide,
  }));
  fill.visible = false;
  group.add(fill);
  stage.scene.add(group);
  stage.lines = layers;
  stage.fill = fill;
}

function drawBoxes(stage) {
  for (const kind of Object.keys(STYLE)) {
    const shown = V.boxes.filter((b) => (kind === "halo" ? b === V.state.selected : b.kind === kind && isShown(b)));
    setLines(stage.lines[kind], shown.map((b) => b.box));
  }
  const chosen = V.state.selected;
  stage.fill.visible = Boolean(chosen);
  if (!chosen) return;
  stage.fill.material.color.set(STYLE[chosen.kind].color);
  stage.fill.position.set(...chosen.box.slice(0, 3));
  stage.fill.scale.set(...chosen.box.slice(3).map((side) => Math.max(Math.abs(side), 1e-4)));
}

function setLines(pair, boxes) {
  const positions = boxes.flatMap((box) => edges(box).flat(2));
  for (const lines of pair) {
    lines.visible = positions.length > 0;
    if (!lines.visible) continue;
    lines.geometry.dispose();
    lines.geometry = new THREE.LineSegmentsGeometry();
    lines.geometry.setPositions(positions);
  }
}

const isShown = (box) => V.layers[box.kind] || box === V.state.selected;

function labelText(box) {
  const parts = [box.name];
  if (valueOf(box)) parts.push(valueOf(box));
  if (box.iou != null) parts.push(`IoU ${number(box.iou)}`);
  return parts.join(" · ");
}

/** How sure the model is of a box in per cent; else its score, which has no unit. */
function valueOf(box) {
  if (box.confidence != null) return percent(box.confidence);
  return isRaw(box) ? `score ${number(box.score)}` : "";
}

const isRaw = (box) => box.confidence == null && box.score != null;

/** The place of a box's label: above its highest corner in the picture, unless that is at the picture's edge. */
function spotAbove(project, box) {
  const [low, high] = corners(box);
  const top = project(V.data.up.map((u, i) => (u > 0.5 ? high[i] : u < -0.5 ? low[i] : box[i])));
  const heights = edges(box).flat().map(project).filter(Boolean).map((spot) => spot[1]);
  return top && [top[0], Math.max(Math.min(...heights, top[1]), Math.min(top[1], 70))];
}

/** Place labels above the boxes that matter; `project` maps a world point to the screen, or to null. */
function drawLabels(project) {
  const holder = $("labels");
  const shown = V.boxes.filter(isShown), chosen = V.state.selected;
  const matters = (b) => b.kind !== "proposal" || b === chosen || b === V.state.pointed;
  const others = V.layers.names ? shown.filter((b) => !matters(b)).slice(0, LABELLED) : [];
  const labelled = [...shown.filter(matters).slice(0, 60), ...others];
  const item = V.data.items[V.state.item];
  const wanted = labelled.map((b) => {
    return { spot: spotAbove(project, b.box), text: labelText(b), kind: b === chosen ? `${b.kind} selected` : b.kind };
  });
  if (item && item.point) wanted.push({ spot: project(item.point), text: "asked here", kind: "point" });
  while (holder.children.length < wanted.length) holder.append(make("div"));
  const taken = [];
  [...holder.children].forEach((element, i) => {
    const spot = wanted[i] && wanted[i].spot;
    element.hidden = !spot;
    if (!spot) return;
    element.className = `label ${wanted[i].kind}`;
    if (element.textContent !== wanted[i].text) element.textContent = wanted[i].text;
    const half = element.offsetWidth / 2 + 4, width = holder.clientWidth;
    if (spot[0] > 0 && spot[0] < width) spot[0] = Math.max(half, Math.min(width - half, spot[0])); // whole, at the edge
    let y = spot[1] - 26;
    while (taken.some(([tx, ty]) => Math.abs(tx - spot[0]) < 130 && Math.abs(ty - y) < 20)) y -= 21;
    taken.push([spot[0], y]);
    element.style.transform = `translate(${Math.round(spot[0])}px, ${Math.round(y)}px) translateX(-50%)`;
  });
}

/** Mark the box under the pointer, or of the row that the pointer or the focus is on: it has a label. */
function pointTo(box) {
  if (V.state.pointed === box) return;
  V.state.pointed = box;
  V.draw();
}

/** Return the smallest box under the pointer, so that a box inside another can be selected. A second click on the same
 *  spot selects the next one. */
function boxAt(stage, x, y) {
  const ray = new THREE.Raycaster();
  ray.setFromCamera(new THREE.Vector2(x, y), stage.camera);
  const hit = new THREE.Vector3();
  const found = V.boxes.filter(isShown).filter((b) => {
    const [low, high] = corners(b.box);
    return ray.ray.intersectBox(new THREE.Box3(new THREE.Vector3(...low), new THREE.Vector3(...high)), hit);
  });
  const rank = (b) => (b.kind === "proposal" ? 1e6 : 0) + Math.abs(b.box[3] * b.box[4] * b.box[5]);
  found.sort((a, b) => rank(a) - rank(b));
  if (!found.length) return null;
  return found[(found.indexOf(V.state.selected) + 1) % found.length];
}

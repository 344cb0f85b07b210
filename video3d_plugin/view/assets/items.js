"use strict";
// The side panel: the question and its answer, the list of questions, the boxes, and details of the selected box.

const VERDICT = { right: "right", wrong: "wrong" };
const ROWS = 400; // of a list at once: a search finds the others

function showItem(stage, index) {
  const items = V.data.items;
  $("question-part").hidden = !items.length;
  if (!items.length) return refresh(stage);
  V.state.item = Math.max(0, Math.min(items.length - 1, index));
  const item = items[V.state.item];
  const shown = matching();
  const place = shown.indexOf(V.state.item);
  $("item-place").textContent = `${place < 0 ? "–" : place + 1} of ${shown.length} · ${item.task} ${item.id}${item.by ? ` · ${item.by}` : ""}`;
  const badge = $("item-verdict");
  badge.hidden = !item.verdict && !item.status;
  badge.className = `badge ${item.verdict || "open"}`;
  badge.textContent = [VERDICT[item.verdict], item.status].filter(Boolean).join(", ");
  $("question").textContent = item.question;
  $("answer-part").hidden = !item.answer;
  $("answer").textContent = item.answer || "";
  $("expected-part").hidden = !item.expected.length;
  fill($("expected"), item.expected.slice(0, 20).map((text) => make("li", "", text)));
  const score = item.score === null || item.score === undefined ? "" : `${item.measure}: ${number(item.score)}`;
  $("item-note").textContent = [item.note, score, item.reason].filter(Boolean).join(" · ");
  refresh(stage);
  drawList(stage);
}

/** Show the question that the page's address names, as #task=scanrefer&id=...&by=..., or the first one. */
function showNamed(stage) {
  const named = new URLSearchParams(location.hash.slice(1)), fields = ["task", "id", "by"].filter((name) => named.has(name));
  const index = V.data.items.findIndex((item) => fields.every((name) => String(item[name] ?? "") === named.get(name)));
  showItem(stage, Math.max(0, index));
  if (fields.length && index < 0) say(`This page has no question ${fields.map((name) => named.get(name)).join(" ")}`);
}

function matching() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const task = $("task-filter").value;
  return V.data.items.map((_, i) => i).filter((i) => {
    const item = V.data.items[i];
    if (V.filter !== "all" && item.verdict !== V.filter) return false;
    if (task && item.task !== task) return false;
    const text = `${item.id} ${item.question} ${item.answer || ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

function drawList(stage) {
  const items = V.data.items;
  $("list-part").hidden = items.length < 2;
  if (items.length < 2) return;
  const shown = matching();
  const right = items.filter((item) => item.verdict === "right").length;
  const judged = items.filter((item) => item.verdict).length;
  const cut = shown.length > ROWS ? `, the first ${ROWS} listed` : "";
  $("list-count").textContent = `${shown.length} of ${items.length}${cut}${judged ? ` · ${right} of ${judged} right` : ""}`;
  refill($("item-list"), shown.slice(0, ROWS).map((i) => {
    const row = make("button");
    row.setAttribute("aria-current", String(i === V.state.item));
    row.append(make("span", `dot ${items[i].verdict || ""}`), make("span", "line", items[i].question || items[i].id));
    row.title = items[i].question;
    row.addEventListener("click", () => showItem(stage, i));
    return row;
  }));
  const current = $("item-list").querySelector('[aria-current="true"]');
  if (!current) return; // scrollIntoView would scroll the whole page on a phone
  const list = $("item-list"), top = current.offsetTop - list.offsetTop;
  if (top < list.scrollTop || top + current.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top;
}

/** Replace the buttons of a list; the focus stays where it was. */
function refill(list, buttons) {
  const at = [...list.children].findIndex((row) => row.contains(document.activeElement));
  fill(list, buttons.map((button) => {
    const row = make("li");
    row.append(button);
    return row;
  }));
  if (at >= 0) buttons[Math.min(at, buttons.length - 1)]?.focus();
}

function step(stage, by) {
  const shown = matching();
  if (!shown.length) return;
  const place = shown.indexOf(V.state.item);
  const next = place < 0 ? (by > 0 ? shown.find((i) => i > V.state.item) ?? shown[0] : shown[0]) : shown[(place + by + shown.length) % shown.length];
  showItem(stage, next);
}

/** Offer the kinds of the questions for selection; that nothing else is listed stays. */
function listTasks() {
  const filter = $("task-filter"), tasks = [...new Set(V.data.items.map((item) => item.task))], before = filter.value;
  fill(filter, [["", "every kind"], ...tasks.map((t) => [t, t])].map(([value, text]) => {
    const option = make("option", "", text);
    option.value = value;
    return option;
  }));
  filter.value = before;
  filter.hidden = tasks.length < 2;
}

function makeFilters(stage) {
  V.filter = "all";
  listTasks();
  const judged = V.data.items.some((item) => item.verdict);
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.hidden = !judged;
    button.setAttribute("aria-pressed", String(button.dataset.filter === V.filter));
    button.addEventListener("click", () => {
      V.filter = button.dataset.filter;
      for (const other of document.querySelectorAll("[data-filter]")) other.setAttribute("aria-pressed", String(other === button));
      const shown = matching();
      if (shown.length && !shown.includes(V.state.item)) showItem(stage, shown[0]);
      else showItem(stage, V.state.item);
    });
  }
  for (const id of ["search", "task-filter"]) $(id).addEventListener("input", () => drawList(stage));
}

/** Show the boxes of the current item, and select the most relevant one. */
function refresh(stage) {
  V.boxes = currentBoxes();
  V.state.pointed = null;
  const told = V.data.items.length ? ["predicted", "truth"] : [];
  select(stage, told.map((kind) => V.boxes.find((b) => b.kind === kind)).find(Boolean) || null);
}

function select(stage, box) {
  V.state.selected = box;
  drawBoxes(stage);
  drawBoxList(stage);
  drawBoxInfo();
  markFrames();
  V.draw();
}

function drawBoxList(stage) {
  const rows = V.boxes.filter((b) => b.kind !== "proposal" || V.layers.proposal || b.score !== null).slice(0, 120);
  const scores = rows.map((b) => b.score).filter((score) => score != null);
  const range = [Math.min(0, ...scores), Math.max(...scores)];
  $("box-none").hidden = rows.length > 0;
  $("box-none").textContent = whyNoBoxes();
  $("box-unit").hidden = !rows.some(isRaw);
  refill($("box-list"), rows.map((box) => {
    const row = make("button");
    row.setAttribute("aria-current", String(box === V.state.selected));
    const value = [box.iou != null && `IoU ${number(box.iou)}`, valueOf(box)].filter(Boolean).join(" · ");
    row.append(make("span", `swatch ${box.kind}`), make("span", "line", box.name), make("span", "number", value));
    if (valueOf(box)) row.append(barOf(box, range));
    const choose = () => select(stage, box === V.state.selected ? null : box);
    row.addEventListener("click", choose);
    row.addEventListener("dblclick", () => { select(stage, box); endLook(stage); fly(stage, boxView(stage, box.box)); });
    for (const name of ["pointerenter", "focus"]) row.addEventListener(name, () => pointTo(box));
    for (const name of ["pointerleave", "blur"]) row.addEventListener(name, () => pointTo(null));
    return row;
  }));
}

function drawBoxInfo() {
  const box = V.state.selected;
  if (!box) return fill($("box-info"), []);
  const list = make("dl");
  const rows = [["box", box.name], ["centre", `${triple(box.box.slice(0, 3))}\u00a0m`], ["size", `${triple(box.box.slice(3))}\u00a0m`]];
  if (box.confidence != null) rows.push(["sure", percent(box.confidence)]);
  else if (box.score != null) rows.push(["score", number(box.score, 3)]);
  if (box.iou != null) rows.push(["IoU with truth", number(box.iou, 3)]);
  const seen = V.data.frames.filter((frame) => sees(frame, box.box)).length;
  rows.push(["in frames", `${seen} of ${V.data.frames.length}`]);
  for (const [name, value] of rows) list.append(make("dt", "", name), make("dd", "", value));
  fill($("box-info"), [list]);
}

/** A bar as long as the model is sure of the box, or as its score lies between the lowest (or 0) and the highest. */
function barOf(box, [low, high]) {
  const bar = make("span", `bar ${box.kind}`), share = box.confidence ?? (box.score - low) / Math.max(high - low, 1e-9);
  bar.style.setProperty("--share", Math.max(0, Math.min(1, share)));
  return bar;
}

function whyNoBoxes() {
  if (V.boxes.length) return "Proposals are hidden: turn them on below.";
  const item = V.data.items[V.state.item];
  if (item && item.scores) return "Nothing here fits the description.";
  if (V.data.proposals.length || V.data.truth.length) return "This question is not answered with boxes.";
  return "No boxes: the scan has no annotated objects, and no proposals were made (--proposals auto makes them).";
}

// The controls of `video3d serve`. Everything that the server sends is inserted as text, never as HTML.
"use strict";

const element = (id) => document.getElementById(id);
const EXAMPLES = ["the chair next to the table", "How many chairs are there?", "the window", "What is in the middle of the room?"];
const BY_TEXT = "as the text suggests";
const ANSWER = "answer", BOXES = "boxes";
// The first word of a text that is answered in words; a description of an object begins otherwise.
const ASKS = /^(what|which|who|whose|where|when|why|how|is|are|was|were|do|does|did|can|could|should|would|will|has|have|if|describe|tell|count|list|name|explain)\b/i;
const POINT = /^-?\d+(\.\d+)? -?\d+(\.\d+)? -?\d+(\.\d+)?$/;
const POINT_HINT = "to ask about a place, click it with Point in the view";
const CHOOSE_MS = 400; // arrow keys pass over scenes that are not meant
const PROGRESS_MS = 700;
const MESSAGES = ["message", "scene-message", "upload-message"];

let latest = null; // the view of the last question: the next question is listed with it
let point = null; // "x y z" that the question is about
let shown = null; // the scene in the view
let ready = false; // whether the view can take answers
let choosing = 0; // the timer of a scene that was chosen just now
let requests = 0; // what comes after a newer request is dropped

async function call(path, body) {
  const answer = await fetch(path, body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  return read(answer.status, text);
}

function read(status, text) {
  let values;
  try {
    values = JSON.parse(text);
  } catch {
    throw new Error(text.slice(0, 200) || `the server answered ${status}`);
  }
  if (status !== 200) throw new Error(values.error);
  return values;
}

/** Run `request`, and hand its result to `finish`; an error is shown in the element `message`. Both are dropped once
 *  there is a newer request. `what` says what is done; `reading` is the server's name of the reading that may go on
 *  meanwhile. Resolves to whether it succeeded. */
async function working(what, reading, request, finish, message = "message") {
  const number = ++requests, current = () => number === requests;
  MESSAGES.forEach((id) => complain(id, ""));
  const stop = tellProgress(what, reading, current);
  element("ask").setAttribute("aria-disabled", "true");
  try {
    const result = await request();
    if (current()) finish(result);
    return current();
  } catch (error) {
    if (current()) complain(message, error.message);
    return false;
  } finally {
    stop();
    if (current()) {
      element("busy").hidden = true;
      element("ask").removeAttribute("aria-disabled");
    }
  }
}

/** Show what is done, for how long, and how far the reading of a scan has come; returns a function that ends it. */
function tellProgress(what, reading, current) {
  const began = Date.now();
  const say = (stage) => {
    if (element("stage").textContent !== stage) element("stage").textContent = stage; // a screen reader reads each once
  };
  const tick = () => current() && (element("seconds").textContent = `${Math.round((Date.now() - began) / 1000)} s`);
  const poll = async () => {
    const { stage, done, total } = await call("api/progress", { reading }).catch(() => ({}));
    if (!current() || ended || !stage) return;
    say(stage);
    element("frames").textContent = total ? `${done} of ${total} frames` : "";
    element("share").hidden = !total;
    if (total) element("share").value = done / total;
  };
  let ended = false;
  say(what);
  tick();
  element("frames").textContent = "";
  element("share").hidden = true;
  element("busy").hidden = false;
  const clocks = [setInterval(tick, 1000), setInterval(poll, PROGRESS_MS)];
  return () => {
    ended = true;
    clocks.forEach(clearInterval);
  };
}

/** Show an error under what caused it; "" removes it. */
function complain(id, text) {
  element(id).textContent = text;
  element(id).hidden = !text;
}

function showView(page, scene) {
  element("viewer").src = page;
  shown = scene;
  ready = false;
}

/** Show a reply in the view: in the one that is open if it is of the same scene, so that its camera stays. */
function showReply({ page, item }, scene) {
  latest = page;
  if (ready && shown === scene) element("viewer").contentWindow.postMessage({ item }, "*"); // its origin is opaque
  else showView(page, scene);
}

/** Show another scene. What was shown stays until then, and if the scene cannot be read. */
async function choose(name) {
  const request = () => call("api/show", { scene: name });
  const done = await working(`reading ${name}`, name, request, ({ page }) => begin(page, name), "scene-message");
  if (!done && shown !== null && element("scene").value === name) element("scene").value = shown;
}

/** Show a scene that nothing was asked about yet. */
function begin(page, scene) {
  latest = null;
  setPoint(null);
  element("answer-part").hidden = element("boxes-part").hidden = true;
  showView(page, scene);
}

function ask(event) {
  event.preventDefault();
  if (element("ask").hasAttribute("aria-disabled")) return;
  const scene = element("scene").value, question = element("question").value.trim();
  if (!scene) return refuse("choose or upload a scan first");
  if (!question && point === null) return refuse("write a question, or what to find");
  const show = kindOf(question), asked = { scene, question, show };
  clearTimeout(choosing); // the reply shows the scene
  if (latest !== null) asked.after = latest;
  if (point !== null) asked.point = point;
  element("question").removeAttribute("aria-invalid");
  working(show === BOXES ? "looking for it" : "answering", scene, () => call("api/ask", asked), (reply) => {
    showReply(reply, scene);
    element("answer").textContent = reply.answer;
    element("answer-part").hidden = reply.answer === "";
    element("boxes").replaceChildren(...reply.boxes.map(row));
    element("boxes-part").hidden = reply.boxes.length === 0;
  });
}

function refuse(text) {
  complain("message", text);
  element("question").setAttribute("aria-invalid", "true");
  element("question").focus();
}

/** Return what to show: as chosen, else an answer for a question, and boxes for the description of an object. */
function kindOf(text) {
  const chosen = document.querySelector("input[name=show]:checked").value;
  if (chosen !== BY_TEXT) return chosen;
  return point !== null || text.endsWith("?") || ASKS.test(text) ? ANSWER : BOXES;
}

/** Say what a text is taken for, while it is written. */
function sayKind() {
  const text = element("question").value.trim(), byText = document.querySelector("input[name=show]:checked").value === BY_TEXT;
  const said = { [ANSWER]: "a question: answered in words", [BOXES]: "a description: found as a box" };
  element("kind").textContent = !text && point === null ? POINT_HINT : byText ? said[kindOf(text)] : "";
}

/** Set the point that the question is about, or remove it; it was clicked in the view. */
function setPoint(place) {
  if (place === null && point !== null) element("viewer").contentWindow.postMessage({ point: null }, "*");
  point = place;
  element("point-part").hidden = place === null;
  element("point").textContent = place === null ? "" : `at ${place} m`;
  element("question").placeholder = place === null ? EXAMPLES[0] : "empty: describe what is here";
  sayKind();
}

/** Take a clicked point from the view, or that it is ready. It shows content of uploads: the message may be anything. */
function receive(event) {
  if (event.source !== element("viewer").contentWindow) return;
  if (event.data?.ready === true) ready = true;
  const place = event.data?.point;
  if (typeof place !== "string" || place.length > 60 || !POINT.test(place)) return;
  setPoint(place);
}

function addExample(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => {
    element("question").value = text;
    sayKind();
    element("question-form").requestSubmit();
  });
  element("examples").append(button);
}

function row(found) {
  const line = document.createElement("tr");
  const metres = (values) => values.map((value) => value.toFixed(2)).join(", ");
  const cells = [metres(found.box.slice(0, 3)), metres(found.box.slice(3)), `${Math.round(found.confidence * 100)} %`];
  for (const value of cells) line.insertCell().textContent = value;
  return line;
}

async function upload() {
  const file = element("archive").files[0];
  if (!file) return;
  const progress = element("upload-progress"), reading = randomName();
  progress.hidden = false;
  const request = async () => {
    const { scene } = await send(file, reading, (share) => (progress.value = share));
    addScene(scene);
    return { scene, page: (await call("api/show", { scene })).page };
  };
  await working(`uploading ${file.name}`, reading, request, ({ scene, page }) => {
    element("scene").value = scene;
    begin(page, scene);
  }, "upload-message");
  progress.hidden = true;
  element("archive").value = "";
}

/** A name that nobody can guess, under which the server tells how far the reading of an upload has come. */
function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// XMLHttpRequest, since fetch does not report upload progress.
function send(file, reading, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/uploads?name=${encodeURIComponent(file.name)}&reading=${reading}`);
    request.setRequestHeader("Content-Type", "application/zip");
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("the connection was lost"));
    request.onload = () => {
      try {
        resolve(read(request.status, request.responseText));
      } catch (error) {
        reject(error);
      }
    };
    request.send(file);
  });
}

function addScene(name) {
  const option = document.createElement("option");
  option.textContent = option.value = name;
  element("scene").append(option);
}

function addKind(name, index) {
  const label = document.createElement("label");
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "show", value: name, checked: index === 0 });
  radio.addEventListener("change", sayKind);
  label.append(radio, ` ${name}`);
  element("show").append(label);
}

function listen() {
  element("scene").addEventListener("change", () => {
    clearTimeout(choosing);
    setPoint(null);
    choosing = setTimeout(() => choose(element("scene").value), CHOOSE_MS);
  });
  element("question-form").addEventListener("submit", ask);
  element("question").addEventListener("input", sayKind);
  element("archive").addEventListener("change", upload);
  element("point-remove").addEventListener("click", () => {
    setPoint(null);
    element("question").focus();
  });
  window.addEventListener("message", receive);
}

async function start() {
  const { scenes, show, max_upload_bytes: limit, model } = await call("api/scenes");
  scenes.forEach(addScene);
  [BY_TEXT, ...show].forEach(addKind);
  EXAMPLES.forEach(addExample);
  element("model").textContent = `Model: ${model}`;
  element("model").hidden = !model;
  element("upload-limit").textContent = `up to ${Math.floor(limit / 2 ** 20)} MB`;
  element("upload-part").hidden = limit === 0;
  setPoint(null);
  listen();
  if (scenes.length > 0) await choose(scenes[0]);
}

start().catch((error) => complain("message", error.message));

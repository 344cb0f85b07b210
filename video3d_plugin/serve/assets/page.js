// The controls of `video3d serve`. Everything that the server sends is inserted as text, never as HTML.
"use strict";

const element = (id) => document.getElementById(id);
let latest = null; // the view of the last question: the next question is listed with it
const EXAMPLES = ["the chair next to the table", "How many chairs are there?", "the window", "What is in the middle of the room?"];
const BY_TEXT = "as the text suggests";
// The first word of a question that is answered in words; a description of an object begins otherwise.
const ASKS = /^(what|which|who|where|when|why|how|is|are|was|were|do|does|did|can|could|should|would|will|has|have|if)\b/i;
let requests = 0; // an answer that comes after a newer request is dropped

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

// Runs one request. The controls are disabled meanwhile; an error is shown.
async function working(what, work, message = "message") {
  const number = ++requests;
  for (const id of ["message", "upload-message"]) element(id).hidden = true;
  const began = Date.now(), say = () => (element("busy").textContent = `${what} ${Math.round((Date.now() - began) / 1000)} s`);
  const clock = setInterval(say, 1000);
  say();
  element("busy").hidden = false;
  for (const id of ["ask", "scene", "archive"]) element(id).disabled = true;
  try {
    await work();
  } catch (error) {
    if (number === requests) {
      element(message).textContent = error.message;
      element(message).hidden = false;
    }
  } finally {
    clearInterval(clock);
    element("busy").hidden = true;
    for (const id of ["ask", "scene", "archive"]) element(id).disabled = false;
  }
}

function showView(page) {
  element("viewer").src = page;
}

function choose(name) {
  latest = null;
  element("answer-part").hidden = element("boxes-part").hidden = true;
  return working(`reading ${name} …`, async () => showView((await call("api/show", { scene: name })).page));
}

function ask(event) {
  event.preventDefault();
  const asked = {
    scene: element("scene").value,
    question: element("question").value,
    show: document.querySelector("input[name=show]:checked").value,
  };
  if (asked.show === BY_TEXT) asked.show = kindOf(asked.question);
  if (latest !== null) asked.after = latest;
  working(asked.show === "boxes" ? "looking for it …" : "answering …", async () => {
    const reply = await call("api/ask", asked);
    latest = reply.page;
    showView(reply.page);
    element("answer").textContent = reply.answer;
    element("answer-part").hidden = reply.answer === "";
    element("boxes").replaceChildren(...reply.boxes.map(row));
    element("boxes-part").hidden = reply.boxes.length === 0;
  });
}

/** Return what a text asks for: a question is answered in words, anything else describes an object. */
function kindOf(text) {
  return text.trim().endsWith("?") || ASKS.test(text.trim()) ? "answer" : "boxes";
}

function addExample(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => {
    element("question").value = text;
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

function upload() {
  const file = element("archive").files[0];
  if (!file) return;
  const progress = element("upload-progress");
  working(`uploading and reading ${file.name} …`, async () => {
    progress.hidden = false;
    try {
      const { scene } = await send(file, (share) => (progress.value = share));
      addScene(scene);
      element("scene").value = scene;
      latest = null;
      element("answer-part").hidden = element("boxes-part").hidden = true;
      showView((await call("api/show", { scene })).page);
    } finally {
      progress.hidden = true;
      element("archive").value = "";
    }
  }, "upload-message");
}

// XMLHttpRequest, since fetch does not report upload progress.
function send(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/uploads?name=${encodeURIComponent(file.name)}`);
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
  label.append(radio, ` ${name}`);
  element("show").append(label);
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
  element("scene").addEventListener("change", () => choose(element("scene").value));
  element("question-form").addEventListener("submit", ask);
  element("archive").addEventListener("change", upload);
  if (scenes.length > 0) await choose(scenes[0]);
}

start().catch((error) => {
  element("message").textContent = error.message;
  element("message").hidden = false;
});

"use strict";
// In `video3d serve`: what the page around this one, which asks questions, is told and tells.

/** Take answers, and forget the point of the question when the page that asks has removed it. */
function listenToAsker(stage) {
  if (!V.data.asks) return;
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent) return;
    if (event.data?.item) addItem(stage, event.data.item);
    if (event.data?.point === null) forgetPoint();
  });
  window.parent.postMessage({ ready: true }, "*"); // the server allows no other site's page as the parent
}

/** List a new question first and show its boxes; the camera stays where it is. */
function addItem(stage, item) {
  if (!V.data.items.length) V.layers.proposal = false; // they were shown since nothing was asked yet
  V.data.items.unshift(item);
  makeLayers(stage);
  listTasks();
  showItem(stage, 0);
}

function forgetPoint() {
  V.state.asking = null;
  say("");
  V.draw();
}

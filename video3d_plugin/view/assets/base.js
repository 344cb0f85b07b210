"use strict";
// Shared by all scripts: the data, elements, formatting of numbers, and boxes. Texts never become HTML.
const V = { data: null, parts: [], state: { item: 0, selected: null, look: null, tool: null, hover: null, asking: null, measured: [], pointed: null, steered: false } };

const $ = (id) => document.getElementById(id);

/** Create an element. `text` is inserted as text, never as HTML. */
function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function fill(element, children) {
  element.replaceChildren(...children);
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const imageOf = (frame) => `data:image/webp;base64,${frame.image}`;

function metres(value) {
  return `${value.toFixed(2)} m`;
}

/** Format a share as per cent, with a decimal where it would round to nothing: "56 %", "0.4 %". */
function percent(share) {
  const value = share * 100;
  return `${value > 0 && value < 0.95 ? value.toFixed(1) : Math.round(value)} %`;
}

function triple(values) {
  return values.map((v) => v.toFixed(2)).join(", ");
}

/** Format a number with `digits` decimals; "" for null. */
function number(value, digits = 2) {
  return value === null || value === undefined ? "" : value.toFixed(digits);
}

/** The lowest and highest corner of a box [centre, size]. */
function corners(box) {
  const low = [0, 1, 2].map((i) => box[i] - Math.abs(box[i + 3]) / 2);
  const high = [0, 1, 2].map((i) => box[i] + Math.abs(box[i + 3]) / 2);
  return [low, high];
}

function overlap(a, b) {
  const [al, ah] = corners(a), [bl, bh] = corners(b);
  let shared = 1, va = 1, vb = 1;
  for (let i = 0; i < 3; i++) {
    shared *= Math.max(0, Math.min(ah[i], bh[i]) - Math.max(al[i], bl[i]));
    va *= ah[i] - al[i];
    vb *= bh[i] - bl[i];
  }
  return shared / Math.max(va + vb - shared, 1e-12);
}

/** The twelve edges of a box as pairs of points. */
function edges(box) {
  const [low, high] = corners(box);
  const corner = (bits) => [0, 1, 2].map((i) => ((bits >> i) & 1 ? high[i] : low[i]));
  const pairs = [];
  for (let a = 0; a < 8; a++) {
    for (let i = 0; i < 3; i++) if (!((a >> i) & 1)) pairs.push([corner(a), corner(a | (1 << i))]);
  }
  return pairs;
}

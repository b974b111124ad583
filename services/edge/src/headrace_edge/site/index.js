/** The list of streams, kept fresh. */

import { describeStream, listStreams, watchPath } from "./streams.js";

/** @import { Listing, Stream } from "./streams.js" */

const REFRESH_MS = 2000;

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let shown = "";

/** @param {string} name @param {string} text @param {string} [style] */
function element(name, text, style = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = style;
  return made;
}

/** @param {Stream} stream */
function card(stream) {
  const link = document.createElement("a");
  link.href = watchPath(stream.name);
  link.append(
    element("span", stream.state, `state ${stream.state}`),
    element("strong", stream.name),
    element("small", describeStream(stream)),
    element("small", stream.owner ? `from ${stream.owner}` : ""),
  );
  const item = document.createElement("li");
  item.append(link);
  return item;
}

/** @param {string} text */
function note(text) {
  const notice = find("notice");
  notice.textContent = text;
  notice.hidden = text === "";
}

/** @param {Listing} listing */
function show({ node, streams }) {
  find("summary").textContent = `${streams.length} ${streams.length === 1 ? "stream" : "streams"} · edge ${node}`;
  note(streams.length ? "" : "No stream is published yet. This page shows it as soon as one is.");
  const now = JSON.stringify(streams);
  if (now !== shown) {
    shown = now;
    find("streams").replaceChildren(...streams.map(card));
  }
}

async function refresh() {
  try {
    show(await listStreams());
  } catch (error) {
    note(`The list cannot be refreshed: ${error instanceof Error ? error.message : error}.`);
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

find("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (find("name"));
  location.assign(watchPath(input.value));
});

refresh();

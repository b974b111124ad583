/** The list of streams, kept fresh. */

const REFRESH_MS = 2000;

/**
 * @typedef {object} Track
 * @property {string} kind
 * @property {string} codec
 * @property {number} width
 * @property {number} height
 * @property {number} frame_rate
 */

/**
 * @typedef {object} Stream
 * @property {string} stream
 * @property {string} state
 * @property {string} node
 * @property {Track[]} tracks
 */

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let shown = "";

/** @param {Track} track */
function describeTrack(track) {
  const size = track.height ? ` ${track.width}×${track.height}` : "";
  const rate = track.frame_rate ? ` ${Math.round(track.frame_rate * 100) / 100} fps` : "";
  return `${track.codec || track.kind}${size}${rate}`;
}

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
  link.href = `/watch/${stream.stream.split("/").map(encodeURIComponent).join("/")}`;
  link.append(
    element("span", stream.state, `state ${stream.state}`),
    element("strong", stream.stream),
    element("small", stream.tracks.map(describeTrack).join(" · ")),
    element("small", stream.node ? `from ${stream.node}` : ""),
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

/** @param {{ node: string, streams: Stream[] }} answer */
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
    const response = await fetch("/streams", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) {
      throw new Error(`the edge answered ${response.status}`);
    }
    show(await response.json());
  } catch (error) {
    note(`The list cannot be refreshed: ${error instanceof Error ? error.message : error}.`);
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

find("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (find("name"));
  location.assign(`/watch/${input.value.split("/").map(encodeURIComponent).join("/")}`);
});

refresh();

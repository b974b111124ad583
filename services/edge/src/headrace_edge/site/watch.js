/** Beside the player: what the stream is made of and where it comes from. */

import { describeStream, listStreams } from "./streams.js";

const REFRESH_MS = 10_000;

const about = /** @type {HTMLElement} */ (document.getElementById("about"));

async function refresh() {
  try {
    const { streams } = await listStreams();
    const stream = streams.find(({ name }) => name === about.dataset["stream"]);
    about.textContent = stream
      ? [describeStream(stream), `from ${stream.owner}`].filter(Boolean).join(" · ")
      : "Nobody publishes this stream yet; it plays as soon as somebody does.";
  } catch {
    // The player tells what is wrong with the connection.
  } finally {
    setTimeout(refresh, REFRESH_MS);
  }
}

refresh();

/**
 * Which way the stream comes: WebSocket, which is nearest to live; where that does not get through (a proxy, a phone),
 * LL-HLS by hls.js or by the browser itself; then DASH by dash.js. The page says which, and one may choose.
 */

/** How long the player may take to show something before another way is tried, in milliseconds. */
const PATIENCE_MS = 10_000;

/** How much faster a player may play to come back to its distance from live. */
const CATCH_UP_RATE = 1.1;

/** @typedef {{ stop: () => void }} Playing */
/** @typedef {{ name: string, usable: () => boolean, play: (failed: (why: string) => void) => Promise<Playing> }} Way */

const stage = /** @type {HTMLElement} */ (document.querySelector(".stage"));
const choice = /** @type {HTMLSelectElement} */ (document.getElementById("way"));
const note = /** @type {HTMLElement} */ (document.getElementById("way-note"));
const own = /** @type {HTMLElement} */ (stage.firstElementChild);
const live = `/live/${stage.dataset["path"]}`;
const query = stage.dataset["query"] ?? ""; // it may hold a token, and the session that all ways share

/** @param {string} name @returns {Promise<any>} the library's global */
async function library(name) {
  const script = document.createElement("script");
  script.src = `/vendor/${name}`;
  await new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`${name} is not installed on this edge`)));
    document.head.append(script);
  });
  return Reflect.get(window, name === "hls.js" ? "Hls" : "dashjs");
}

/** @returns {HTMLVideoElement} in the place of the player */
function plainVideo() {
  const video = document.createElement("video");
  Object.assign(video, { controls: true, muted: true, autoplay: true, playsInline: true });
  video.style.width = "100%";
  stage.replaceChildren(video);
  return video;
}

const native = () => document.createElement("video").canPlayType("application/vnd.apple.mpegurl") !== "";
const hasMediaSource = () => "MediaSource" in window || "ManagedMediaSource" in window;

/** @type {Record<string, Way>} */
const ways = {
  websocket: {
    name: "WebSocket",
    usable: hasMediaSource,
    play: async (failed) => {
      stage.replaceChildren(own);
      const { signal, stop } = stopper();
      const timer = setTimeout(() => failed("WebSocket does not get through"), PATIENCE_MS);
      signal.addEventListener("abort", () => clearTimeout(timer));
      own.addEventListener("headrace-state", (event) => {
        const { state, reason } = /** @type {CustomEvent} */ (event).detail;
        if (["live", "interrupted", "ended", "paused"].includes(state)) {
          clearTimeout(timer);
        } else if (state === "failed") {
          failed(reason);
        }
      }, { signal });
      return { stop };
    },
  },
  hls: {
    name: "LL-HLS",
    usable: () => hasMediaSource() || native(),
    play: async (failed) => {
      const address = `${live}/index.m3u8${query}`;
      const Hls = hasMediaSource() ? await library("hls.js").catch((error) => (native() ? null : failed(error.message))) : null;
      if (Hls === undefined) {
        return { stop: () => undefined };
      }
      const video = plainVideo();
      if (Hls === null) {
        video.addEventListener("error", () => failed(video.error?.message ?? "the browser cannot play it"));
        video.src = address;
        return { stop: () => video.removeAttribute("src") };
      }
      const hls = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: CATCH_UP_RATE });
      hls.on(Hls.Events.ERROR, (/** @type {unknown} */ _, /** @type {any} */ { fatal, details }) => fatal && failed(details));
      hls.loadSource(address);
      hls.attachMedia(video);
      return { stop: () => hls.destroy() };
    },
  },
  dash: {
    name: "LL-DASH",
    usable: hasMediaSource,
    play: async (failed) => {
      const dashjs = await library("dash.js");
      const player = dashjs.MediaPlayer().create();
      player.on("error", (/** @type {any} */ { error }) => failed(error.message));
      player.initialize(plainVideo(), `${live}/manifest.mpd${query}`, true);
      return { stop: () => player.destroy() };
    },
  },
};

function stopper() {
  const controller = new AbortController();
  return { signal: controller.signal, stop: () => controller.abort() };
}

const order = Object.keys(ways).filter((way) => ways[way]?.usable());

/** @type {Playing | undefined} */
let playing;
let turn = 0;

/** Play by `way`; when it fails, by the next one, unless somebody chose. @param {string} way @param {boolean} chosen */
async function play(way, chosen) {
  const mine = ++turn;
  playing?.stop();
  choice.value = way;
  document.body.dataset["way"] = way;
  /** @param {string} why */
  const failed = (why) => {
    if (mine !== turn) {
      return;
    }
    note.textContent = why;
    const next = order[order.indexOf(way) + 1];
    if (!chosen && next !== undefined) {
      play(next, false);
    }
  };
  try {
    playing = await /** @type {Way} */ (ways[way]).play(failed);
  } catch (error) {
    failed(error instanceof Error ? error.message : String(error));
  }
}

choice.replaceChildren(...order.map((way) => new Option(ways[way]?.name, way)));
choice.addEventListener("change", () => {
  note.textContent = "";
  play(choice.value, true);
});
if (order[0] !== undefined) {
  play(order[0], false);
}

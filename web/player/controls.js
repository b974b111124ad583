/**
 * What stands on the picture: buttons, words, figures. It shows what it is told and calls back; it decides nothing.
 */

/** @import { Stats } from "./player.js" */

/** Outlines on a grid of 24 by 24. */
const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M6 5h4v14H6zm8 0h4v14h-4z",
  sound: "M4 9v6h4l5 5V4L8 9zm12.5 3a4.5 4.5 0 0 0-2.5-4v8a4.5 4.5 0 0 0 2.5-4z",
  muted: "M4 9v6h4l5 5V4L8 9zm12 .6L14.6 11 16 12.4 14.6 14l1.4 1.4 1.6-1.4 1.6 1.4 1.4-1.4-1.6-1.6 1.6-1.4-1.4-1.4-1.6 1.4z",
  full: "M5 14H3v7h7v-2H5zm0-4V5h5V3H3v7zm14 9h-5v2h7v-7h-2zM14 3v2h5v5h2V3z",
  figures: "M5 20h3V10H5zm5.5 0h3V4h-3zM16 20h3v-7h-3z",
};

const STYLE = `
:host { display: block; position: relative; aspect-ratio: 16 / 9; background: #000; color: #fff; overflow: hidden;
  font: 14px/1.4 system-ui, sans-serif; }
:host([hidden]) { display: none; }
video { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; background: #000; }
.bar { position: absolute; inset: auto 0 0; display: flex; align-items: center; gap: 4px; padding: 4px 8px;
  background: linear-gradient(transparent, rgb(0 0 0 / 75%)); }
button { display: inline-flex; align-items: center; gap: 6px; min-width: 36px; min-height: 36px; padding: 6px;
  border: 0; border-radius: 6px; background: none; color: inherit; font: inherit; cursor: pointer; }
button:hover { background: rgb(255 255 255 / 20%); }
button:focus-visible { outline: 2px solid #6cf; outline-offset: -2px; }
button[hidden], .words[hidden], .figures[hidden] { display: none; }
svg { width: 22px; height: 22px; fill: currentColor; flex: none; }
.status, .summary { white-space: nowrap; font-variant-numeric: tabular-nums; }
.summary { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; }
.status::before { content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 8px; border-radius: 50%;
  background: #999; }
.status[data-state="live"]::before { background: #e33; }
.status[data-state="interrupted"]::before, .status[data-state="reconnecting"]::before { background: #fb3; }
.words { position: absolute; inset: auto 10% 50%; margin: auto; width: fit-content; max-width: 80%; padding: 8px 16px;
  border-radius: 6px; background: rgb(0 0 0 / 75%); text-align: center; }
.unmute { position: absolute; top: 8px; left: 8px; padding: 6px 12px 6px 8px; background: rgb(0 0 0 / 70%); }
.figures { position: absolute; top: 8px; right: 8px; margin: 0; padding: 8px 12px; border-radius: 6px;
  background: rgb(0 0 0 / 70%); font: 12px/1.5 ui-monospace, monospace; display: grid; grid-template-columns: auto auto;
  gap: 0 12px; }
.figures dd { margin: 0; text-align: right; }
`;

const MARKUP = `
<video part="video" playsinline></video>
<p class="words" part="words" hidden></p>
<dl class="figures" part="figures" aria-label="Playback figures" hidden></dl>
<button type="button" class="unmute" part="unmute" hidden></button>
<div class="bar" part="bar" role="group" aria-label="Player controls">
  <button type="button" class="play"></button>
  <button type="button" class="mute"></button>
  <span class="status" part="status" role="status" aria-live="polite"></span>
  <span class="summary" part="summary"></span>
  <button type="button" class="figures-button" aria-label="Figures" aria-pressed="false"></button>
  <button type="button" class="full" aria-label="Full screen"></button>
</div>
`;

/** What is said over the picture, by state; the stream's own reason follows. @type {Record<string, string>} */
const WORDS = {
  connecting: "Connecting …",
  interrupted: "The source is interrupted; it goes on by itself",
  reconnecting: "Connection lost, trying again",
  ended: "The stream has ended",
  failed: "Cannot play",
};

/** A stream that nobody has seen yet is not interrupted: it is waited for. @param {Stats} stats */
const isAwaited = ({ state, chunks }) => state === "interrupted" && chunks === 0;

/** @type {Record<string, string>} */
const STATUS = {
  idle: "No stream",
  connecting: "Connecting",
  live: "Live",
  interrupted: "Interrupted",
  reconnecting: "Reconnecting",
  paused: "Paused",
  ended: "Ended",
  failed: "Failed",
};

/**
 * What the controls call.
 * @typedef {object} Actions
 * @property {() => void} togglePlay
 * @property {() => void} toggleMute
 * @property {() => void} toggleFigures
 * @property {() => void} toggleFullScreen
 */

/**
 * What the controls show beside the figures.
 * @typedef {object} View
 * @property {boolean} muted
 * @property {boolean} hasAudio
 * @property {boolean} waiting whether media flows but nothing could be shown yet
 * @property {boolean} figures whether the figures are shown
 */

export class Controls {
  /** @param {ShadowRoot} root @param {Actions} actions */
  constructor(root, actions) {
    root.innerHTML = MARKUP;
    addStyle(root);
    this.video = /** @type {HTMLVideoElement} */ (root.querySelector("video"));
    this._play = button(root, ".play", actions.togglePlay);
    this._mute = button(root, ".mute", actions.toggleMute);
    this._unmute = button(root, ".unmute", actions.toggleMute);
    this._figuresButton = button(root, ".figures-button", actions.toggleFigures);
    this._status = element(root, ".status");
    this._summary = element(root, ".summary"); // beside the status: screen readers need not speak figures
    this._words = element(root, ".words");
    this._figures = element(root, ".figures");
    setIcon(button(root, ".full", actions.toggleFullScreen), "full");
    setIcon(this._figuresButton, "figures");
    setIcon(this._unmute, "muted", "Unmute");
  }

  /** @param {Stats} stats @param {View} view */
  show(stats, view) {
    const playing = stats.state !== "paused" && stats.state !== "ended" && stats.state !== "failed" && stats.state !== "idle";
    setIcon(this._play, playing ? "pause" : "play");
    this._play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this._showSound(view, playing);
    this._showState(stats, view.waiting);
    this._figures.hidden = !view.figures;
    this._figuresButton.setAttribute("aria-pressed", String(view.figures));
    if (view.figures) {
      this._figures.replaceChildren(...figureRows(stats));
    }
  }

  /** @param {View} view @param {boolean} playing */
  _showSound({ muted, hasAudio }, playing) {
    setIcon(this._mute, muted ? "muted" : "sound");
    this._mute.setAttribute("aria-label", muted ? "Unmute" : "Mute");
    this._mute.hidden = !hasAudio;
    this._unmute.hidden = !hasAudio || !muted || !playing;
  }

  /** @param {Stats} stats @param {boolean} waiting */
  _showState(stats, waiting) {
    setText(this._status, isAwaited(stats) ? "Waiting" : `${STATUS[stats.state]}`);
    setText(this._summary, stats.state === "live" ? summary(stats) : "");
    this._status.dataset["state"] = stats.state;
    const words = waiting
      ? "Waiting for the first picture …"
      : isAwaited(stats)
        ? "Waiting for the stream"
        : WORDS[stats.state];
    this._words.hidden = words === undefined && stats.reason === "";
    setText(this._words, [words, stats.reason].filter(Boolean).join(": "));
  }
}

/** @param {Stats} stats */
function summary({ latencyMs, bufferMs, droppedFrames }) {
  const latency = latencyMs === null ? "" : `· ${latencyMs} ms latency `;
  return `${latency}· ${bufferMs} ms buffer · ${droppedFrames} dropped`;
}

/** @param {Stats} stats */
function figureRows(stats) {
  const ms = (/** @type {number | null} */ value) => (value === null ? "–" : `${Math.round(value)} ms`);
  const rows = [
    ["latency", ms(stats.latencyMs)],
    ["behind live", `${ms(stats.behindMs)} of ${stats.targetMs}`],
    ["buffer", ms(stats.bufferMs)],
    ["rate", stats.rate.toFixed(2)],
    ["dropped frames", stats.droppedFrames],
    ["stalls", stats.stalls],
    ["chunks", stats.chunks],
    ["gaps", stats.gaps],
    ["reconnects", stats.reconnects],
    ["round trip", ms(stats.roundTripMs)],
    ["edge", stats.edge || "–"],
  ];
  return rows.flatMap(([name, value]) => [textElement("dt", `${name}`), textElement("dd", `${value}`)]);
}

/** @param {ShadowRoot} root */
function addStyle(root) {
  const sheet = new CSSStyleSheet(); // unlike a style element it needs no exception in a page's security policy
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
}

/** @param {ShadowRoot} root @param {string} selector @returns {HTMLElement} */
function element(root, selector) {
  return /** @type {HTMLElement} */ (root.querySelector(selector));
}

/** @param {ShadowRoot} root @param {string} selector @param {() => void} act */
function button(root, selector, act) {
  const found = element(root, selector);
  found.addEventListener("click", act);
  return found;
}

/** @param {HTMLElement} target @param {keyof typeof ICONS} name @param {string} [label] */
function setIcon(target, name, label = "") {
  if (target.dataset["icon"] !== name) {
    target.dataset["icon"] = name;
    target.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>${label}`;
  }
}

/**
 * Set text only when it changes, for screen readers speak what is set.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
function setText(target, text) {
  if (target.textContent !== text) {
    target.textContent = text;
  }
}

/** @param {string} name @param {string} text */
function textElement(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

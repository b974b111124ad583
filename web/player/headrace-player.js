/**
 * `<headrace-player src="/play/demo">`: plays a Headrace stream at live.
 *
 * Attributes: `src` (ws, wss, http, https or a path), `muted` (as it begins; without it the browser decides whether
 * sound may start), `latency-target` (milliseconds behind live, 250), `stats` (show figures).
 * Properties: `src`, `muted`, `latencyTarget`, `state`, `stats` (a frozen snapshot), `video` (the media element).
 * Methods: `play()`, `pause()`.
 * Events: `headrace-state` when state or reason changed (detail: `{ state, reason, edge }`), `headrace-stats` once a
 * second (detail: the snapshot).
 * Keys: space or k play and pause, m sound, f full screen, i figures.
 */

import { playAddress } from "./addresses.js";
import { Controls } from "./controls.js";
import { Player } from "./player.js";

/** @import { PlayerState, Stats } from "./player.js" */

/** How often figures are shown and told, in milliseconds. */
const STATS_EVERY_MS = 1000;

/** Default distance behind live, in milliseconds. */
const LATENCY_TARGET_MS = 250;

/** Largest distance that makes sense, in milliseconds: edges keep half a minute. */
const LATENCY_TARGET_MAX_MS = 20_000;

export class HeadracePlayer extends HTMLElement {
  static observedAttributes = ["src", "muted", "latency-target", "stats"];

  constructor() {
    super();
    this._controls = new Controls(this.attachShadow({ mode: "open" }), {
      togglePlay: () => this._togglePlay(),
      toggleMute: () => (this.muted = !this.muted),
      toggleFigures: () => this.toggleAttribute("stats"),
      toggleFullScreen: () => this._toggleFullScreen(),
    });
    const internals = this.attachInternals();
    internals.role = "region";
    internals.ariaLabel = "Live video";
    /** The media element; read it, but leave its source and position to the player. */
    this.video = this._controls.video;
    this._player = new Player(this.video, () => this._changed());
    this._told = "";
    /** Whether it is in a document and was told so: attributes come earlier. */
    this._present = false;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this._timer = undefined;
    this._away = new AbortController();
    this.video.addEventListener("volumechange", () => this._show());
    this.video.addEventListener("playing", () => this._show());
    this.addEventListener("keydown", (event) => this._key(event));
  }

  connectedCallback() {
    this._present = true;
    this._away = new AbortController();
    const { signal } = this._away;
    document.addEventListener("visibilitychange", () => document.hidden || this._player.goLive(), { signal });
    if (!this.hasAttribute("tabindex")) {
      this.tabIndex = 0;
    }
    this.video.muted = this.hasAttribute("muted");
    this._timer = setInterval(() => this._tellStats(), STATS_EVERY_MS);
    this._begin();
  }

  disconnectedCallback() {
    this._present = false;
    this._away.abort();
    clearInterval(this._timer);
    this._player.stop();
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (name === "latency-target") {
      this._player.setTarget(this.latencyTarget / 1000);
    } else if (name === "muted") {
      this.video.muted = after !== null;
    } else if (name === "stats") {
      this._show();
    } else if (this._present && before !== after) {
      this._begin();
    }
  }

  /** @returns {string} */
  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(address) {
    this.setAttribute("src", address);
  }

  /** @returns {boolean} */
  get muted() {
    return this.video.muted;
  }

  set muted(muted) {
    this.video.muted = muted;
  }

  /** Milliseconds behind live. @returns {number} */
  get latencyTarget() {
    const wanted = Number.parseFloat(this.getAttribute("latency-target") ?? "");
    return Number.isFinite(wanted) ? Math.min(LATENCY_TARGET_MAX_MS, Math.max(0, wanted)) : LATENCY_TARGET_MS;
  }

  set latencyTarget(milliseconds) {
    this.setAttribute("latency-target", String(milliseconds));
  }

  /** @returns {PlayerState} */
  get state() {
    return this._player.state;
  }

  /** @returns {Readonly<Stats>} */
  get stats() {
    return this._player.stats;
  }

  /** Go on at live. */
  play() {
    this._player.resume();
  }

  /** Stop and hold the picture. */
  pause() {
    this._player.pause();
  }

  // -- inside --------------------------------------------------------------------------------------------------------

  _begin() {
    if (this.src === "") {
      this._player.stop();
      return;
    }
    try {
      this._player.play(playAddress(this.src, document.baseURI));
    } catch (error) {
      this._player.fail(error instanceof Error ? error.message : String(error));
    }
  }

  _changed() {
    const { state, reason, edge } = this._player.stats;
    const told = JSON.stringify([state, reason, edge]);
    if (told !== this._told) {
      this._told = told;
      this.dispatchEvent(new CustomEvent("headrace-state", { detail: { state, reason, edge }, bubbles: true }));
    }
    this._show();
  }

  _tellStats() {
    this._show();
    this.dispatchEvent(new CustomEvent("headrace-stats", { detail: this.stats, bubbles: true }));
  }

  _show() {
    this._controls.show(this.stats, {
      muted: this.video.muted,
      hasAudio: this._player.hasAudio,
      waiting: this._player.waiting,
      figures: this.hasAttribute("stats"),
    });
  }

  _togglePlay() {
    if (["paused", "ended", "failed"].includes(this.state)) {
      this.play();
    } else {
      this.pause();
    }
  }

  _toggleFullScreen() {
    const done = document.fullscreenElement === null ? this.requestFullscreen?.() : document.exitFullscreen();
    done?.catch(() => undefined); // the page's owner may forbid it
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const onButton = event.composedPath()[0] instanceof HTMLButtonElement;
    const act = {
      " ": onButton ? undefined : () => this._togglePlay(),
      k: () => this._togglePlay(),
      m: () => (this.muted = !this.muted),
      f: () => this._toggleFullScreen(),
      i: () => this.toggleAttribute("stats"),
    }[event.key];
    if (act !== undefined && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      act();
    }
  }
}

if (customElements.get("headrace-player") === undefined) {
  customElements.define("headrace-player", HeadracePlayer);
}

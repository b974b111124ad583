/**
 * Publishes a camera or a screen: what MediaRecorder makes goes over a WebSocket as it comes.
 *
 * A connection that breaks is made again with a new recording, for a recording has one beginning only.
 */

/**
 * What is recorded, the best first: what browsers play without anybody encoding it again. MP4 is last, for a recorder
 * gives nothing of it before a whole GOP is there.
 */
const TYPES = [
  'video/x-matroska;codecs="avc1,opus"',
  'video/webm;codecs="vp9,opus"',
  'video/webm;codecs="av01,opus"',
  'video/mp4;codecs="avc1.42E01F,mp4a.40.2"',
  'video/mp4;codecs="avc1.42E01F,opus"',
];

/** How much is sent at once, in milliseconds. */
const SLICE_MS = 100;

/** How much may wait to be sent, in bytes, before the recording begins anew: an uplink that cannot carry it. */
const WAITING_MAX_BYTES = 8 * 1024 * 1024;

/** Bits of video a second. */
const VIDEO_BITS = 2_500_000;

/** Waits before a connection is made again, in milliseconds, growing from the first to the second. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 5000;

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

const stream = decodeURIComponent(location.pathname.replace(/^\/publish\//, ""));
const picture = /** @type {HTMLVideoElement} */ (element("picture"));
const key = /** @type {HTMLInputElement} */ (element("key"));
const source = /** @type {HTMLSelectElement} */ (element("source"));
const publishButton = /** @type {HTMLButtonElement} */ (element("publish"));
const stopButton = /** @type {HTMLButtonElement} */ (element("stop"));
const state = element("state");
element("stream").textContent = stream;
document.title = `Publish ${stream}`;

/** @type {MediaStream | null} */
let capture = null;
/** @type {WebSocket | null} */
let socket = null;
/** @type {MediaRecorder | null} */
let recorder = null;
let retryMs = RETRY_MIN_MS;

/** @returns {string} */
function address() {
  const query = key.value ? `?key=${encodeURIComponent(key.value)}` : "";
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}${query}`;
}

/**
 * @param {string} text
 */
function tell(text) {
  state.textContent = text;
}

async function begin() {
  publishButton.disabled = true;
  try {
    capture =
      source.value === "screen"
        ? await navigator.mediaDevices.getDisplayMedia({ video: true, audio: true })
        : await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: true });
  } catch (error) {
    tell(`The browser gives no picture: ${error instanceof Error ? error.message : error}`);
    publishButton.disabled = false;
    return;
  }
  picture.srcObject = capture;
  stopButton.disabled = false;
  connect(capture);
}

/**
 * @param {MediaStream} media
 */
function connect(media) {
  const type = TYPES.find((one) => MediaRecorder.isTypeSupported(one));
  if (!type) {
    tell("This browser records nothing that can be carried.");
    end();
    return;
  }
  tell("Connecting …");
  const link = new WebSocket(address());
  socket = link;
  link.onopen = () => {
    retryMs = RETRY_MIN_MS;
    record(media, link, type);
  };
  link.onclose = (event) => {
    stopRecorder();
    if (socket !== link) return;
    socket = null;
    if (!capture) return;
    tell(event.reason || "The connection was lost; trying again …");
    setTimeout(() => capture && !socket && connect(capture), retryMs);
    retryMs = Math.min(RETRY_MAX_MS, retryMs * 2);
  };
}

/**
 * @param {MediaStream} media
 * @param {WebSocket} link
 * @param {string} type
 */
function record(media, link, type) {
  const recording = new MediaRecorder(media, { mimeType: type, videoBitsPerSecond: VIDEO_BITS });
  recorder = recording;
  recording.ondataavailable = (event) => {
    if (link.readyState !== WebSocket.OPEN || recorder !== recording) return;
    if (link.bufferedAmount > WAITING_MAX_BYTES) {
      link.close();
      return;
    }
    link.send(event.data);
  };
  recording.start(SLICE_MS);
  tell(`Publishing as ${recording.mimeType}.`);
}

function stopRecorder() {
  const recording = recorder;
  recorder = null;
  if (recording && recording.state !== "inactive") recording.stop();
}

function end() {
  const [link, media] = [socket, capture];
  socket = null;
  capture = null;
  stopRecorder();
  link?.close();
  media?.getTracks().forEach((track) => track.stop());
  picture.srcObject = null;
  publishButton.disabled = false;
  stopButton.disabled = true;
}

publishButton.addEventListener("click", () => void begin());
stopButton.addEventListener("click", () => {
  end();
  tell("Nothing is published.");
});

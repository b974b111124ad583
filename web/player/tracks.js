/**
 * Which tracks are played, and whether the next epoch's can go on in the same buffers. Pure: what the browser can play
 * is asked through a function.
 */

/** @import { Track } from "./wire.js" */

/**
 * The tracks to play and why others are left out.
 * @typedef {object} Choice
 * @property {Track[]} tracks at most one of video and one of audio
 * @property {string[]} refused sentences for people, one for each kind that cannot be played
 */

/**
 * Choose the first video and the first audio track that the browser plays.
 *
 * @param {readonly Track[]} tracks
 * @param {(type: string) => boolean} isTypeSupported
 * @returns {Choice}
 */
export function chooseTracks(tracks, isTypeSupported) {
  /** @type {Choice} */
  const choice = { tracks: [], refused: [] };
  for (const kind of /** @type {const} */ (["video", "audio"])) {
    const candidates = tracks.filter((track) => track.kind === kind);
    const played = candidates.find((track) => isTypeSupported(mimeType(track)));
    if (played !== undefined) {
      choice.tracks.push(played);
    } else if (candidates.length > 0) {
      const codecs = candidates.map((track) => track.codec).join(", ");
      choice.refused.push(`This browser does not play the stream's ${kind} (${codecs}).`);
    }
  }
  return choice;
}

/**
 * The type that `MediaSource` wants for a track.
 * @param {Track} track
 */
export function mimeType(track) {
  return `${track.kind}/mp4; codecs="${track.codec}"`;
}

/**
 * What a new epoch means for the buffers: go on as they are, go on after another header, or begin with new ones.
 * @typedef {"same" | "headers" | "rebuild"} Change
 */

/** @param {readonly Track[]} before @param {readonly Track[]} after @returns {Change} */
export function compareTracks(before, after) {
  const fits =
    before.length === after.length &&
    before.every(({ track, kind }, index) => after[index]?.track === track && after[index]?.kind === kind);
  if (!fits) {
    return "rebuild";
  }
  return before.every((track, index) => sameHeader(track, after[index])) ? "same" : "headers";
}

/** @param {Track} a @param {Track | undefined} b */
export function sameHeader(a, b) {
  return (
    b !== undefined &&
    a.codec === b.codec &&
    a.timescale === b.timescale &&
    a.header.length === b.header.length &&
    a.header.every((byte, index) => byte === b.header[index])
  );
}

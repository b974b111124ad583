/**
 * What a session wants done or known: data. The shell does the first three kinds, the player heeds the rest.
 */

/** @import { Chunk, StreamState, Track } from "./wire.js" */

/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} Status */

/** @typedef {{ kind: "connect", link: number, address: string }} Connect */
/** @typedef {{ kind: "send", link: number, text: string }} Send */
/** @typedef {{ kind: "close", link: number, code: number, reason: string }} Close */
/** @typedef {{ kind: "status", status: Status, reason: string }} StatusChange */
/** @typedef {{ kind: "state", state: StreamState, reason: string }} StateChange */
/** @typedef {{ kind: "tracks", epoch: number, tracks: Track[] }} Opened */
/** @typedef {{ kind: "chunk", chunk: Chunk }} Arrived */
/** @typedef {Connect | Send | Close | StatusChange | StateChange | Opened | Arrived} Output */

export {};

// Node's `ws`, used as its documentation says: every message to every client by `send`.
//
// node ws_broadcast.cjs RATE MESSAGE_BYTES. It prints its port and ends with standard input. Each message carries the
// moment it was made, microseconds since 1970, at offset 32, as ours does.
"use strict";
const { randomBytes } = require("node:crypto");
const { WebSocket, WebSocketServer } = require("ws");

const UNSENT_MAX_BYTES = 4 * 1024 * 1024;
const [rate, size] = process.argv.slice(2).map(Number);
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 4096 });
const media = randomBytes(size);
let tick = Math.ceil((Date.now() / 1000) * rate) + 1;

function send() {
    const message = Buffer.from(media);
    message.writeBigUInt64BE(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)), 32);
    for (const client of server.clients) {
        if (client.readyState === WebSocket.OPEN && client.bufferedAmount < UNSENT_MAX_BYTES) client.send(message);
    }
    tick += 1;
    setTimeout(send, Math.max(0, (tick / rate) * 1000 - Date.now()));
}

server.on("connection", (client) => client.on("error", () => client.terminate()));
server.on("listening", () => {
    console.log(server.address().port);
    send();
});
process.stdin.on("end", () => process.exit(0)).resume();

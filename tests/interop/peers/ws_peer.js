// The npm package `ws`, with permessage-deflate on in both roles. The same conversation as conversation.py.
"use strict";

const fs = require("fs");
const https = require("https");
const http = require("http");
const { once } = require("events");
const { WebSocket, WebSocketServer } = require("ws");

const pattern = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, index) => index % 251));
const MESSAGES = [
  "", "text", "žluťoučký kůň 🐎", "a".repeat(125), "b".repeat(126), "c".repeat(65536),
  ...[0, 1, 125, 126, 65535, 65536, 2 ** 20].map(pattern),
];
const FRAGMENTS = ["in ", "", "three parts"];
const CLIENT_CLOSE = [4000, "bye"];
const SERVER_CLOSE = [4001, "as you wish"];
const CLOSE_REQUEST = "please close";

const tell = (facts) => console.log(JSON.stringify(facts));

function echo(connection) {
  connection.on("message", (data, isBinary) => {
    if (!isBinary && data.toString() === CLOSE_REQUEST) connection.close(...SERVER_CLOSE);
    else connection.send(data, { binary: isBinary });
  });
  connection.on("close", (code, reason) => tell({ code, reason: reason.toString() }));
}

function server() {
  const pem = process.env.PEER_CERTIFICATE && fs.readFileSync(process.env.PEER_CERTIFICATE);
  const listener = pem ? https.createServer({ key: pem, cert: pem }) : http.createServer();
  const running = new WebSocketServer({ server: listener, perMessageDeflate: true });
  running.on("connection", echo);
  listener.listen(0, "127.0.0.1", () => tell({ port: listener.address().port }));
  process.stdin.on("end", () => process.exit(0)).resume();
}

async function client(url) {
  const authority = process.env.PEER_AUTHORITY && fs.readFileSync(process.env.PEER_AUTHORITY);
  const connection = new WebSocket(url, { ca: authority, perMessageDeflate: true });
  await once(connection, "open");
  let echoed = 0;
  for (const message of MESSAGES) {
    connection.send(message);
    const [data, isBinary] = await once(connection, "message");
    echoed += isBinary === Buffer.isBuffer(message) && data.equals(Buffer.from(message));
  }
  FRAGMENTS.forEach((part, index) => connection.send(part, { fin: index === FRAGMENTS.length - 1 }));
  const [fragmented] = await once(connection, "message");
  connection.ping("mark");
  const [pong] = await once(connection, "pong");
  const extensions = connection.extensions ? [connection.extensions] : [];
  connection.close(...CLIENT_CLOSE);
  const [code, reason] = await once(connection, "close");
  tell({ echoed, fragmented: fragmented.toString(), pong: pong.toString(), extensions, code, reason: reason.toString() });
}

const [role, ...rest] = process.argv.slice(2);
({ server, client })[role](...rest);

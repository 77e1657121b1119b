// The official Node SDK's sockets against Tollgate, `ws` under them, and WebSocket as browsers have it.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { ResponsesWS } from "openai/resources/responses/ws";
import { WebSocket as Ws } from "ws";

const prompt = process.env.PROMPT;
const key = process.env.OPENAI_API_KEY;
const client = new OpenAI({ maxRetries: 0 });
const stranger = new OpenAI({ apiKey: "wrong", maxRetries: 0 });

// Whatever hangs is a failure.
setTimeout(() => assert.fail("a step hangs"), 60_000).unref();

// What a session of the SDK's says from now on, one event or error after the other.
function listen(session) {
  const heard = [];
  const waiting = [];
  const note = (event) => (waiting.length ? waiting.shift()(event) : heard.push(event));
  session.on("event", note);
  session.on("error", (error) => note({ type: "failed", error }));
  return () => (heard.length ? Promise.resolve(heard.shift()) : new Promise((done) => waiting.push(done)));
}

const closed = (socket) => new Promise((done) => socket.addEventListener("close", done, { once: true }));

// Both of the SDK's realtime clients: over `ws` with headers, and over the built-in one with subprotocols.
for (const Session of [OpenAIRealtimeWS, OpenAIRealtimeWebSocket]) {
  const session = new Session({ model: "gpt-4o" }, client);
  const next = listen(session);
  const end = closed(session.socket);
  const created = await next();
  assert.equal(created.type, "session.created", created.error);
  assert.equal(created.session.model, "gpt-4o-2024-11-20");
  session.send({ type: "session.update", session: { type: "realtime", instructions: prompt } });
  const updated = await next();
  assert.deepEqual([updated.type, updated.session.instructions], ["session.updated", prompt]);
  // Audio of 1 MiB in one event.
  const audio = Buffer.alloc(1 << 20).toString("base64");
  session.send({ type: "input_audio_buffer.append", audio });
  assert.equal((await next()).item_id, `item_${audio.length}`);
  session.send({ type: "response.create" });
  let text = "";
  let event;
  while ((event = await next()).type === "response.output_text.delta") text += event.delta;
  assert.equal(text, "Hello, wörld 🌍");
  assert.deepEqual([event.type, event.response.usage.total_tokens], ["response.done", 3]);
  // The provider closes, with a code of its own.
  session.send({ type: "input_audio_buffer.clear" });
  const { code, reason } = await end;
  assert.deepEqual([code, reason], [4008, "session expired"]);

  // A wrong key is told over the socket, in the form that the SDK reads.
  const refused = new Session({ model: "gpt-4o" }, stranger);
  const said = listen(refused);
  const over = closed(refused.socket);
  assert.equal((await said()).type, "error");
  assert.equal((await said()).error.error.code, "invalid_api_key");
  assert.equal((await over).code, 3000);
}

// Responses over a socket.
const responses = new ResponsesWS(client);
const next = listen(responses);
responses.send({ type: "response.create", model: "gpt-4o", input: prompt });
assert.equal((await next()).type, "response.output_text.delta");
assert.equal((await next()).type, "response.completed");
responses.close();

// WebSocket as a page has it: all that it can send are subprotocols.
const url = process.env.OPENAI_BASE_URL.replace("http", "ws") + "/realtime?model=gpt-4o";
for (const [offered, type, code] of [
  [key, "session.created", 1000],
  ["wrong", "error", 3000],
]) {
  const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${offered}`]);
  const end = closed(socket);
  const message = await new Promise((done) => socket.addEventListener("message", done, { once: true }));
  assert.equal(socket.protocol, "realtime");
  assert.equal(JSON.parse(message.data).type, type);
  if (code === 1000) socket.close(code);
  assert.equal((await end).code, code);
}

// `ws` offers compression as it comes; it is not taken. A ping is answered from behind the gateway.
const bare = new Ws(url, { headers: { authorization: `Bearer ${key}` } });
await new Promise((done) => bare.once("message", done));
assert.equal(bare.extensions, "");
bare.ping("x");
assert.equal(String(await new Promise((done) => bare.once("pong", done))), "x");
const end = closed(bare);
bare.close(1000);
assert.equal((await end).code, 1000);

// Any other refusal is an answer with its status.
const unknown = new Ws(url.replace("gpt-4o", "unheard-of"), { headers: { authorization: `Bearer ${key}` } });
const status = await new Promise((done) => {
  unknown.once("error", () => {});
  unknown.once("unexpected-response", (_, response) => done(response.statusCode));
});
assert.equal(status, 404);

console.log("all good");
process.exit(0);

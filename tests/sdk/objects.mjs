// The official Node SDK against Tollgate: what is kept at the provider's, and found there again.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import OpenAI, { toFile, toStreamingFile } from "openai";

const prompt = process.env.PROMPT;
const messages = [{ role: "user", content: prompt }];
const large = readFileSync("large.bin");
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const ids = (objects) => objects.map((object) => object.id);
const gather = async (stream) => {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
};
const download = async (id) => Buffer.from(await (await client.files.content(id)).arrayBuffer());
const missing = (call, message) =>
  assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError, error);
    assert.equal(error.error.message, message);
    assert.match(error.requestID, /^req_/);
    return true;
  });

// Files: made, listed page by page, asked for, read and deleted.
const made = [];
for (let n = 0; n < 5; n++) {
  const file = await toFile(Buffer.from(`{"n":${n},"prompt":"${prompt}"}\n`), `${n}.jsonl`);
  made.push(await client.files.create({ file, purpose: "batch" }));
}
assert.deepEqual([made[0].filename, made[0].purpose, made[0].status], ["0.jsonl", "batch", "processed"]);
assert.deepEqual(ids(await gather(client.files.list({ limit: 2 }))), ids(made), "each page is asked for");
let page = await client.files.list({ limit: 2, after: made[0].id });
assert.deepEqual([ids(page.data), page.hasNextPage()], [ids(made.slice(1, 3)), true]);
page = await page.getNextPage();
assert.deepEqual([ids(page.data), page.hasNextPage()], [ids(made.slice(3)), false]);
assert.equal((await client.files.retrieve(made[1].id)).filename, "1.jsonl");
assert.equal(await (await client.files.content(made[1].id)).text(), `{"n":1,"prompt":"${prompt}"}\n`);
assert.equal((await client.files.delete(made[1].id)).deleted, true);
await missing(client.files.retrieve(made[1].id), `No such file: ${made[1].id}`);
await missing(client.files.content(made[1].id), `No such file: ${made[1].id}`);

// 20 MB, up and down: from a stream that is read first, and from one that is sent as it is read.
const whole = await client.files.create({ file: createReadStream("large.bin"), purpose: "user_data" });
assert.equal(whole.bytes, large.length);
assert.equal(sha256(await download(whole.id)), sha256(large));
const file = toStreamingFile(createReadStream("large.bin"), "large.bin");
const streamed = await client.files.create({ file, purpose: "user_data" });
const response = await client.files.content(streamed.id);
assert.equal(response.headers.get("content-length"), String(large.length));
await pipeline(Readable.fromWeb(response.body), createWriteStream("copy.bin"));
assert.equal(sha256(readFileSync("copy.bin")), sha256(large));

// An upload: its parts in the order that is asked for, and one that is given up.
const about = { bytes: large.length, filename: "large.bin", mime_type: "text/plain", purpose: "assistants" };
let upload = await client.uploads.create(about);
assert.equal(upload.status, "pending");
const half = large.length / 2;
const part = async (content) => client.uploads.parts.create(upload.id, { data: await toFile(content) });
const second = await part(large.subarray(half));
const first = await part(large.subarray(0, half));
upload = await client.uploads.complete(upload.id, { part_ids: [first.id, second.id] });
assert.equal(upload.status, "completed");
assert.equal(sha256(await download(upload.file.id)), sha256(large));
const givenUp = await client.uploads.create(about);
assert.equal((await client.uploads.cancel(givenUp.id)).status, "cancelled");

// A download that breaks in the middle raises: there is no short file.
for (const broken of ["file-broken", "file-broken-chunks"]) {
  const response = await client.files.content(broken);
  await assert.rejects(pipeline(Readable.fromWeb(response.body), createWriteStream("short.bin")));
  await assert.rejects(download(broken));
}

// Leaving a download early is fine, and the upstream is let go: the test waits for that.
const endless = (await client.files.content("file-endless")).body.getReader();
assert.ok((await endless.read()).value.length > 0);
await endless.cancel();

// Raw answers: the request's id is ours, and what the provider says of our account stays with us.
const raw = await client.files.list({ limit: 1 }).withResponse();
assert.match(raw.response.headers.get("x-request-id"), /^req_/);
assert.equal(raw.request_id, raw.response.headers.get("x-request-id"));
assert.equal(raw.response.headers.get("openai-processing-ms"), "7");
assert.equal(raw.response.headers.get("openai-organization"), null);
assert.deepEqual(ids(raw.data.data), ids(made.slice(0, 1)));
const packed = await client.files.retrieve("file-gzip").withResponse();
assert.deepEqual([packed.response.headers.get("content-encoding"), packed.data.id], ["gzip", "file-gzip"]);
const asked = await client.chat.completions.create({ model: "gpt-4o", messages, store: true }).asResponse();
assert.deepEqual([asked.status, asked.headers.get("openai-organization")], [200, null]);
const stored = await asked.json();
assert.equal(stored.model, "gpt-4o-2024-11-20");

// A client with other options: what may be tried again is, and else the provider's error arrives.
assert.equal((await client.withOptions({ maxRetries: 2 }).files.retrieve("file-flaky")).id, "file-flaky");
await assert.rejects(client.files.retrieve("file-overloaded"), (error) => {
  assert.ok(error instanceof OpenAI.InternalServerError, error);
  assert.deepEqual([error.status, error.error.message], [503, "The engine is overloaded"]);
  return true;
});
const wrong = client.withOptions({ apiKey: "wrong" });
await assert.rejects(wrong.files.list(), OpenAI.AuthenticationError);
const refused = await toFile(large, "large.bin");
await assert.rejects(wrong.files.create({ file: refused, purpose: "user_data" }), OpenAI.AuthenticationError);
const other = client.withOptions({ organization: "org-client", project: "proj-client" });
assert.equal((await other.files.retrieve(made[0].id)).id, made[0].id);

// Stored chat completions.
const more = await client.chat.completions.create({ model: "gpt-4o", messages, store: true, metadata: { n: "2" } });
assert.deepEqual(ids(await gather(client.chat.completions.list({ limit: 1 }))), [stored.id, more.id]);
assert.deepEqual((await client.chat.completions.retrieve(more.id)).metadata, { n: "2" });
assert.deepEqual((await client.chat.completions.update(more.id, { metadata: { n: "3" } })).metadata, { n: "3" });
const [said] = await gather(client.chat.completions.messages.list(more.id));
assert.equal(said.content, prompt);
assert.equal((await client.chat.completions.delete(stored.id)).deleted, true);
await missing(client.chat.completions.retrieve(stored.id), `No such chat.completion: ${stored.id}`);

// Stored responses: asked for, resumed as a stream, cancelled and deleted.
const input = [0, 1, 2].map((n) => ({ role: "user", content: `${prompt} ${n}` }));
const contents = input.map((item) => item.content);
const { id } = await client.responses.create({ model: "gpt-4o", input, background: true });
const answer = await client.responses.retrieve(id);
assert.deepEqual([answer.output_text, answer.model], ["answered", "gpt-4o-2024-11-20"]);
const events = await gather(await client.responses.retrieve(id, { stream: true, starting_after: 0 }));
assert.deepEqual(
  events.map((event) => event.type),
  ["response.output_text.delta", "response.completed"],
);
const items = await gather(client.responses.inputItems.list(id, { limit: 2 }));
assert.deepEqual(
  items.map((item) => item.content),
  contents,
);
assert.equal((await client.responses.cancel(id)).status, "cancelled");
await client.responses.delete(id);
await missing(client.responses.retrieve(id), `No such response: ${id}`);

// Batches and fine-tuning jobs.
const batches = [];
const jobs = [];
for (const { id } of [made[0], made[2], made[3]]) {
  const batch = { input_file_id: id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  batches.push(await client.batches.create(batch));
  jobs.push(await client.fineTuning.jobs.create({ model: "gpt-4o", training_file: id }));
}
assert.equal((await client.batches.retrieve(batches[0].id)).input_file_id, made[0].id);
assert.deepEqual(ids(await gather(client.batches.list({ limit: 2 }))), ids(batches));
assert.equal((await client.batches.cancel(batches[0].id)).status, "cancelled");
assert.deepEqual(ids(await gather(client.fineTuning.jobs.list({ limit: 2 }))), ids(jobs));
assert.equal((await client.fineTuning.jobs.retrieve(jobs[1].id)).training_file, made[2].id);
// Its model has the rule's name, and one that the key is not for is refused.
assert.equal(jobs[1].model, "gpt-4o-2024-11-20");
const forbidden = { model: "forbidden", training_file: made[0].id };
await assert.rejects(client.fineTuning.jobs.create(forbidden), OpenAI.NotFoundError);
assert.equal((await client.fineTuning.jobs.cancel(jobs[1].id)).status, "cancelled");

// Vector stores: the SDK's own helper uploads a file and asks until it is done, as often as it is told.
const stores = [];
for (const name of ["one", "two", "three"]) stores.push(await client.vectorStores.create({ name }));
assert.deepEqual(ids(await gather(client.vectorStores.list({ limit: 2 }))), ids(stores));
const text = await toFile(Buffer.from("text"), "in.txt");
const inside = await client.vectorStores.files.uploadAndPoll(stores[0].id, text);
assert.equal(inside.status, "completed");
assert.deepEqual(ids(await gather(client.vectorStores.files.list(stores[0].id))), [inside.id]);
assert.equal((await client.vectorStores.update(stores[1].id, { name: "new" })).name, "new");
assert.equal((await client.vectorStores.delete(stores[1].id)).deleted, true);

// Conversations.
const conversation = await client.conversations.create({ items: input, metadata: { n: "1" } });
assert.deepEqual((await client.conversations.retrieve(conversation.id)).metadata, { n: "1" });
const within = await gather(client.conversations.items.list(conversation.id, { limit: 2 }));
assert.deepEqual(
  within.map((item) => item.content),
  contents,
);
assert.equal((await client.conversations.delete(conversation.id)).deleted, true);

// Videos are asked for with a form. Its model has the rule's name, and one that the key is not for is refused.
let video = await client.videos.create({ model: "gpt-4o", prompt, seconds: "4" });
assert.deepEqual([video.model, video.seconds], ["gpt-4o-2024-11-20", "4"]);
assert.equal((await client.videos.retrieve(video.id)).model, "gpt-4o-2024-11-20");
const picture = async () => toFile(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), "first.png", { type: "image/png" });
video = await client.videos.create({ model: "gpt-4o", prompt, input_reference: await picture() });
assert.equal(video.model, "gpt-4o-2024-11-20");
await client.videos.retrieve(video.id);
assert.equal((await client.videos.retrieve(video.id)).status, "completed");
assert.equal((await client.videos.delete(video.id)).deleted, true);
for (const pictures of [{}, { input_reference: await picture() }]) {
  const refused = client.videos.create({ model: "forbidden", prompt, ...pictures });
  await assert.rejects(refused, OpenAI.NotFoundError);
}

// What is in beta passes, with the header or the query that says so.
const assistant = await client.beta.assistants.create({ model: "gpt-4o", instructions: prompt });
assert.equal((await client.beta.assistants.retrieve(assistant.id)).instructions, prompt);
assert.equal(assistant.model, "gpt-4o-2024-11-20");
assert.deepEqual(ids(await gather(client.beta.assistants.list({ limit: 1 }))), [assistant.id]);
const thread = await client.beta.threads.create({ messages });
await client.beta.threads.messages.create(thread.id, { role: "user", content: "more" });
const talk = await gather(client.beta.threads.messages.list(thread.id, { limit: 1 }));
assert.deepEqual(
  talk.map((message) => message.content),
  [prompt, "more"],
);
const named = await client.beta.threads.runs.create(thread.id, { assistant_id: assistant.id, model: "gpt-4o" });
assert.equal(named.model, "gpt-4o-2024-11-20");
const run = await client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id });
assert.equal(run.status, "completed");
assert.equal((await client.beta.threads.delete(thread.id)).deleted, true);

const inBeta = await client.beta.responses.create({ model: "gpt-4o", input });
assert.equal((await client.beta.responses.retrieve(inBeta.id)).model, "gpt-4o-2024-11-20");

// Containers, and the files in them.
const box = await client.containers.create({ name: "box" });
assert.deepEqual(ids(await gather(client.containers.list())), [box.id]);
const boxed = await client.containers.files.create(box.id, { file: await toFile(Buffer.from("boxed"), "boxed.txt") });
const unboxed = await client.containers.files.content.retrieve(boxed.id, { container_id: box.id });
assert.equal(await unboxed.text(), "boxed");

// Models are not passed through: what may be asked for is listed, and nothing else.
assert.deepEqual(ids(await gather(client.models.list())), ["gpt-4o", "same-listed"]);
assert.equal((await client.models.retrieve("same-listed")).owned_by, "them");
for (const unknown of ["forbidden", "same-unlisted"]) {
  await assert.rejects(client.models.retrieve(unknown), OpenAI.NotFoundError);
}

console.log("all good");

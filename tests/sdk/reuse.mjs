// What the Node SDK makes of answers that Tollgate gives again: the same objects, whichever form was kept.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";
import { ResponseStream } from "openai/lib/responses/ResponseStream";

const prompt = process.env.PROMPT;
const usage = { stream_options: { include_usage: true } };
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

// The endpoints that answer in both forms: the recorded answer, and what is asked.
const BOTH_FORMS = {
  openai_chat: [client.chat.completions, { messages: [{ role: "user", content: prompt }] }],
  openai_completions: [client.completions, { prompt }],
  openai_responses: [client.responses, { input: prompt, store: false }],
};

// An SDK's object as an application that prints it sees it.
const plain = (thing) => JSON.parse(JSON.stringify(thing));

// The places where two objects differ; what is absent is null.
function differences(left, right, place = "") {
  const isObject = (thing) => typeof thing === "object" && thing !== null;
  const alike = Array.isArray(left) === Array.isArray(right) && (!Array.isArray(left) || left.length === right.length);
  if (!isObject(left) || !isObject(right) || !alike) return (left ?? null) === (right ?? null) ? [] : [place];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
  return names.flatMap((name) => differences(left[name], right[name], place ? `${place}.${name}` : name));
}

// The answers to one request: the first from the provider, the others of the same id from the cache.
class Asked {
  constructor(resource, params) {
    this.resource = resource;
    this.params = params;
  }

  check({ headers }) {
    assert.equal(headers.get("x-tollgate-cache"), this.id ? "hit" : "miss", JSON.stringify(this.params));
    if (this.id) {
      assert.equal(headers.get("x-tollgate-cache-id"), this.id);
      assert.ok(Number(headers.get("age")) >= 0);
    }
    this.id ??= headers.get("x-request-id");
  }

  async ask(more = {}) {
    const { data, response } = await this.resource.create({ ...this.params, ...more }).withResponse();
    this.check(response);
    return data;
  }

  async whole() {
    return plain(await this.ask());
  }

  async chunks(more = {}) {
    const read = [];
    for await (const chunk of await this.ask({ stream: true, ...more })) read.push(plain(chunk));
    return read;
  }
}

// What an application has at the end of a stream.
async function accumulated(name, chunks) {
  const lines = () => new Blob(chunks.map((chunk) => `${JSON.stringify(chunk)}\n`)).stream();
  if (name === "openai_responses") return plain(await ResponseStream.fromReadableStream(lines()).finalResponse());
  if (name === "openai_chat") return plain(await ChatCompletionStream.fromReadableStream(lines()).finalChatCompletion());
  const choices = chunks.flatMap((chunk) => chunk.choices);
  const logprobs = choices.map((choice) => choice.logprobs).filter(Boolean);
  const joined = Object.keys(logprobs[0]).map((part) => [part, logprobs.flatMap((of) => of[part])]);
  const choice = {
    index: 0,
    text: choices.map((choice) => choice.text).join(""),
    finish_reason: choices.at(-1).finish_reason,
    logprobs: Object.fromEntries(joined),
  };
  return { ...chunks.at(-1), choices: [choice] };
}

for (const [name, [resource, asks]] of Object.entries(BOTH_FORMS)) {
  const tellsAlways = name === "openai_responses";
  const withUsage = tellsAlways ? {} : usage;
  const model = `same-${name}`;

  // A whole answer is kept: it comes back whole, and as a stream.
  let asked = new Asked(resource, { model, temperature: 0, ...asks });
  const first = await asked.whole();
  assert.ok(first.id && first.usage.total_tokens > 0, name);
  assert.deepEqual(await asked.whole(), first, name);
  const made = await accumulated(name, await asked.chunks(withUsage));
  assert.deepEqual(differences(first, made), [], name);
  const bare = await accumulated(name, await asked.chunks());
  assert.deepEqual(differences(first, bare), tellsAlways ? [] : ["usage"], name);

  // A stream is kept: it comes back as it was, with its usage, and whole.
  asked = new Asked(resource, { model, temperature: 0, top_p: 0.5, ...asks });
  const chunks = await asked.chunks();
  assert.ok(chunks.length > 3, name);
  assert.deepEqual(await asked.chunks(), chunks, name);
  const told = await asked.chunks(withUsage);
  if (!tellsAlways) {
    assert.ok(!chunks.some((chunk) => chunk.usage), name);
    assert.ok(told.at(-1).usage.total_tokens > 0, name);
    assert.deepEqual(told.at(-1).choices, [], name);
  }
  const gathered = await asked.whole();
  assert.deepEqual(differences(gathered, await accumulated(name, told)), [], name);
  assert.deepEqual([gathered.id, gathered.usage], [first.id, first.usage], name);
}

// Embeddings: as the SDK asks for them, in Base64, and as numbers.
for (const more of [{}, { encoding_format: "float" }]) {
  const asked = new Asked(client.embeddings, { model: "same-embedding", input: prompt, ...more });
  const first = await asked.whole();
  assert.deepEqual(first.data[0].embedding, [0.5, -2]);
  assert.deepEqual(await asked.whole(), first);
}

// Speech: the same bytes.
const speech = new Asked(client.audio.speech, { model: "same-tts", voice: "alloy", input: prompt });
const spoken = [];
for (let times = 0; times < 2; times += 1) {
  const response = await speech.resource.create(speech.params);
  speech.check(response);
  assert.equal(response.headers.get("content-type"), "audio/mpeg");
  spoken.push(Buffer.from(await response.arrayBuffer()));
}
assert.ok(spoken[0].length > 10_000 && spoken[0].equals(spoken[1]));

// Other questions that mean the same: the answer to the first, whole and as a stream.
async function byMeaning(verb, result, more = {}) {
  const messages = [{ role: "user", content: `How ${verb} I reset my password?` }];
  const asked = client.chat.completions.create({ model: "same-meaning", messages, ...more });
  const { data, response } = await asked.withResponse();
  assert.equal(response.headers.get("x-tollgate-cache"), result);
  const similarity = Number(response.headers.get("x-tollgate-similarity"));
  assert.ok(result === "miss" || (similarity >= 0.9 && similarity <= 1), String(similarity));
  return data;
}
const answered = plain(await byMeaning("do", "miss"));
assert.deepEqual(plain(await byMeaning("can", "semantic")), answered);
const chunks = [];
for await (const chunk of await byMeaning("could", "semantic", { stream: true, ...usage })) chunks.push(plain(chunk));
assert.deepEqual(differences(answered, await accumulated("openai_chat", chunks)), []);

console.log("all good");

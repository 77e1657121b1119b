// The Node SDK's own accumulators over recorded streams, straight from the provider and through Tollgate.

import assert from "node:assert/strict";
import OpenAI from "openai";

const prompt = process.env.PROMPT;
const messages = [{ role: "user", content: prompt }];
const gateway = new OpenAI({ maxRetries: 0, timeout: 20_000 });
const provider = new OpenAI({ maxRetries: 0, timeout: 20_000, baseURL: process.env.PROVIDER_URL });

// What it cannot accumulate of a provider's own stream.
const FAILS = {
  // Calls come without a type.
  mistral_tools: "OpenAIError: tool call snapshot missing `type`",
};

// Where what it makes of a provider's own stream is not what the provider would have answered.
const WRONG = {
  // Of what it does not know in a message, the last piece counts, be it null.
  deepseek_reasoner: ["choices.0.message.reasoning_content"],
  // Both calls have the place 0, and are joined.
  gemini_tools: ["choices.0.message.tool_calls"],
  // Pieces of Base64 are joined as if they were text.
  openai_audio: ["choices.0.message.audio.data"],
  // The content is empty where one answer has none.
  openai_refusal: ["choices.0.message.content"],
  // The last piece counts, in a choice too.
  openrouter_reasoning_details: [
    "choices.0.message.reasoning",
    "choices.0.message.reasoning_details",
    "choices.0.native_finish_reason",
  ],
  // The last piece counts.
  xai_reasoning: ["choices.0.message.reasoning_content"],
};

// An SDK's object as an application that prints it sees it.
const plain = (thing) => JSON.parse(JSON.stringify(thing));
const options = (usage) => (usage ? { stream_options: { include_usage: true } } : {});

// Each chunk or event, as the SDK reads it.
async function chunks(client, name, form, usage) {
  const model = `${form}-${name}`;
  const stream = true;
  const open = {
    openai_responses: () => client.responses.create({ model, input: prompt, stream }),
    openai_completions: () => client.completions.create({ model, prompt, stream, ...options(usage) }),
  };
  const chat = () => client.chat.completions.create({ model, messages, stream, ...options(usage) });
  const read = [];
  for await (const chunk of await (open[name] ?? chat)()) read.push(plain(chunk));
  return read;
}

const EVENTS = [
  "chunk",
  "content",
  "message",
  "functionToolCall",
  "finalFunctionToolCall",
  "content.delta",
  "content.done",
  "refusal.delta",
  "refusal.done",
  "tool_calls.function.arguments.delta",
  "tool_calls.function.arguments.done",
  "logprobs.content.delta",
  "logprobs.content.done",
  "logprobs.refusal.delta",
  "logprobs.refusal.done",
];

// Legacy completions have no accumulator: what an application would make of their chunks.
function completion(pieces) {
  const choices = pieces.flatMap((piece) => piece.choices);
  const logprobs = choices.map((choice) => choice.logprobs).filter(Boolean);
  const joined = Object.keys(logprobs[0]).map((name) => [name, logprobs.flatMap((part) => part[name])]);
  const choice = {
    index: 0,
    text: choices.map((choice) => choice.text).join(""),
    finish_reason: choices.at(-1).finish_reason,
    logprobs: Object.fromEntries(joined),
  };
  return { ...pieces.at(-1), choices: [choice] };
}

// What the SDK's helper tells as the stream comes, and what it has put together at its end.
async function accumulated(client, name, form, usage) {
  const model = `${form}-${name}`;
  const told = [];
  if (name === "openai_completions") return [told, completion(await chunks(client, name, form, usage))];
  if (name === "openai_responses") {
    const stream = client.responses.stream({ model, input: prompt });
    for await (const event of stream) told.push(plain(event));
    return [told, plain(await stream.finalResponse())];
  }
  const stream = client.chat.completions.stream({ model, messages, ...options(usage) });
  for (const event of EVENTS) stream.on(event, (...said) => told.push([event, plain(said)]));
  try {
    return [told, plain(await stream.finalChatCompletion())];
  } catch (error) {
    if (error instanceof OpenAI.APIError) throw error;
    return [told, `${error.constructor.name}: ${error.message}`];
  }
}

// The one answer, with what the SDK adds to each that it accumulates too.
async function whole(client, name, form) {
  const model = `${form}-${name}`;
  if (name === "openai_responses") return plain(await client.responses.parse({ model, input: prompt }));
  if (name === "openai_completions") return plain(await client.completions.create({ model, prompt }));
  return plain(await client.chat.completions.parse({ model, messages }));
}

// The places where two objects differ; what is absent is null.
function differences(left, right, place = "") {
  const isObject = (thing) => typeof thing === "object" && thing !== null;
  const alike = Array.isArray(left) === Array.isArray(right) && (!Array.isArray(left) || left.length === right.length);
  if (!isObject(left) || !isObject(right) || !alike) return (left ?? null) === (right ?? null) ? [] : [place];
  const names = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort();
  return names.flatMap((name) => differences(left[name], right[name], place ? `${place}.${name}` : name));
}

for (const name of process.argv.slice(2)) {
  const answer = await whole(provider, name, "same");
  const tellsAlways = name === "openai_responses";
  for (const usage of [true, false]) {
    const asked = `${name}, usage ${usage}`;
    // Through the gateway a stream is the same.
    const pieces = await chunks(provider, name, "same", usage);
    assert.deepEqual(await chunks(gateway, name, "same", usage), pieces, asked);
    const direct = await accumulated(provider, name, "same", usage);
    assert.deepEqual(await accumulated(gateway, name, "same", usage), direct, asked);
    assert.ok(direct[0].length > 0 || name === "openai_completions", asked);

    // The stream that it makes of an answer is that answer, but for a usage that nobody wants.
    const made = (await accumulated(gateway, name, "never", usage))[1];
    const wrong = usage || tellsAlways ? [] : ["usage"];
    assert.deepEqual(differences(answer, made), wrong, asked);
    assert.equal(made.usage != null, usage || tellsAlways, asked);

    if (name in FAILS) {
      assert.equal(direct[1], FAILS[name]);
      continue;
    }
    assert.equal(direct[1].usage != null, usage || tellsAlways, asked);
    if (!usage) continue;
    // The answer that it makes of a stream is what the SDK makes of it.
    const gathered = await whole(gateway, name, "always");
    assert.deepEqual(differences(gathered, direct[1]), WRONG[name] ?? [], asked);
  }
}

console.log("all good");

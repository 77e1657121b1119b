// The AI SDK, straight at the provider and through Tollgate: an application sees the same.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const prompt = process.env.PROMPT;
const apiKey = process.env.OPENAI_API_KEY;
const gateway = process.env.OPENAI_BASE_URL;
const provider = process.env.PROVIDER_URL;

globalThis.AI_SDK_LOG_WARNINGS = false;

// What it makes up itself, what names the way, and what is measured.
const OWN = new Set(["headers", "timestamp", "id", "messageId", "callId", "generationId", "performance", "request"]);

/** A value as an application sees it, but for what differs in each run. */
const plain = (value) =>
  JSON.parse(JSON.stringify(value ?? null, (name, part) => (OWN.has(name) && !isOfProvider(part) ? undefined : part)));
const isOfProvider = (part) => typeof part === "string" && /^(chatcmpl|resp|call|msg|fc|rs)[-_]/.test(part);

const tools = {
  get_weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
  now: tool({ description: "The time.", inputSchema: z.object({}), execute: async () => "noon" }),
};

const common = { prompt, maxRetries: 0 };

async function whole(model, more = {}) {
  const result = await generateText({ ...common, model, ...more });
  const { text, reasoningText, finishReason, usage, toolCalls, toolResults, steps, response } = result;
  return plain({ text, reasoningText, finishReason, usage, toolCalls, toolResults, steps: steps.length, response });
}

/** Each part of a stream as it comes, and what is put together of them. */
async function streamed(model, more = {}) {
  const errors = [];
  const result = streamText({ ...common, model, onError: ({ error }) => errors.push(error), ...more });
  const parts = [];
  for await (const part of result.fullStream) parts.push(part);
  if (errors.length > 0) throw errors[0];
  const [text, usage, finishReason, calls] = await Promise.all([
    result.text,
    result.usage,
    result.finishReason,
    result.toolCalls,
  ]);
  return plain({ parts, text, usage, finishReason, calls });
}

async function fails(call) {
  try {
    await call();
  } catch (error) {
    assert.ok(APICallError.isInstance(error), error);
    const { statusCode, message, isRetryable, responseBody } = error;
    return { statusCode, message, isRetryable, responseBody };
  }
  throw new Error("an error was expected");
}

/** What an application sees, of everything that it does. */
async function everything(baseURL) {
  const openai = createOpenAI({ baseURL, apiKey });
  const seen = {};
  for (const name of ["same-openai_chat", "same-openai_refusal", "same-groq_chat", "same-openai_n2_logprobs"]) {
    seen[name] = [await whole(openai.chat(name)), await streamed(openai.chat(name))];
  }
  for (const name of ["same-openai_tools", "same-mistral_tools"]) {
    seen[name] = [await whole(openai.chat(name), { tools }), await streamed(openai.chat(name), { tools })];
    const turns = { tools, stopWhen: isStepCount(2) };
    seen[`${name}, two turns`] = await whole(openai.chat(name), turns);
  }
  const responses = openai.responses("same-openai_responses");
  seen.responses = [await whole(responses), await streamed(responses)];
  const { embeddings, usage } = await embedMany({ model: openai.embedding("same-vectors"), values: [prompt], maxRetries: 0 });
  seen.vectors = { embeddings, usage };
  for (const name of ["same-bad", "same-broken", "same-rate-limited"]) {
    seen[name] = [await fails(() => whole(openai.chat(name))), await fails(() => streamed(openai.chat(name)))];
  }
  return seen;
}

const [direct, through] = [await everything(provider), await everything(gateway)];
assert.deepEqual(Object.keys(through), Object.keys(direct));
for (const what of Object.keys(direct)) assert.deepEqual(through[what], direct[what], what);
const called = direct["same-openai_tools"][0].toolCalls.map((call) => [call.toolName, call.input]);
assert.deepEqual(called, [
  ["get_weather", { city: "Oslo" }],
  ["get_weather", { city: "Bergen" }],
  ["now", {}],
]);
assert.equal(direct["same-openai_tools, two turns"].steps, 2);
assert.equal(direct["same-openai_tools"][1].finishReason, "tool-calls");
assert.deepEqual(
  ["same-bad", "same-broken", "same-rate-limited"].map((name) => direct[name][0].statusCode),
  [400, 500, 429],
);

// What only the gateway says.
const at = (key) => createOpenAI({ baseURL: gateway, apiKey: key });
assert.equal((await fails(() => whole(at(apiKey).chat("unheard-of")))).statusCode, 404);
assert.equal((await fails(() => whole(at("wrong").chat("same-openai_chat")))).statusCode, 401);

// A stream that breaks is an error on both ways, not a short answer.
for (const baseURL of [provider, gateway]) {
  await assert.rejects(streamed(createOpenAI({ baseURL, apiKey }).chat("same-cut")), baseURL);
}

console.log("all good");

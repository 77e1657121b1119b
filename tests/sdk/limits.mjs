// What the Node SDK makes of limits and quotas: its own exceptions, with codes, headers and no vain retries.

import assert from "node:assert/strict";
import OpenAI, { RateLimitError } from "openai";

const messages = [{ role: "user", content: process.env.PROMPT }];

// With the retries that an application has by default.
const client = new OpenAI({ timeout: 20_000 });
const poor = new OpenAI({ timeout: 20_000, apiKey: process.env.POOR_KEY });

function ask(asking, model, more = {}) {
  return asking.chat.completions.create({ model, messages, ...more });
}

async function refused(call) {
  try {
    await call();
  } catch (error) {
    assert(error instanceof RateLimitError, error);
    assert.equal(error.status, 429);
    assert(error.requestID.startsWith("req_"), error.requestID);
    return error;
  }
  assert.fail("it was not refused");
}

// An application sees how its limits stand, of an answer and of a stream.
const { data, response } = await ask(client, "same-x").withResponse();
assert.equal(response.headers.get("x-ratelimit-limit-requests"), "1000");
assert.equal(response.headers.get("x-ratelimit-remaining-requests"), "999");
assert.equal(response.headers.get("x-ratelimit-limit-tokens"), "100000");
assert(Number(response.headers.get("x-ratelimit-remaining-tokens")) < 100_000);
assert(response.headers.get("x-ratelimit-reset-requests").endsWith("s"));
assert.equal(data.choices[0].message.content, "x");
const streamed = await ask(client, "same-x", { stream: true }).withResponse();
assert.equal(streamed.response.headers.get("x-ratelimit-remaining-requests"), "998");
for await (const chunk of streamed.data) assert(chunk.choices);

// The limit of a rule, once for a whole answer and once for a stream.
await ask(client, "gpt-4o");
for (const more of [{}, { stream: true }]) {
  const error = await refused(() => ask(client, "gpt-4o", more));
  assert.equal(error.code, "rate_limit_exceeded");
  assert.equal(error.type, "requests");
  assert.match(error.message, /requests_per_day/);
  assert(Number(error.headers.get("retry-after")) > 60);
  assert.equal(error.headers.get("x-should-retry"), "false");
  assert.equal(error.headers.get("x-ratelimit-remaining-requests"), "997");
}

// A request for more tokens than can ever pass.
const large = await refused(() => ask(client, "same-x", { max_tokens: 1_000_000 }));
assert.deepEqual([large.code, large.type], ["rate_limit_exceeded", "tokens"]);

// A quota that is used up.
await ask(poor, "same-x");
const over = await refused(() => ask(poor, "same-x"));
assert.deepEqual([over.code, over.type], ["insufficient_quota", "insufficient_quota"]);
assert.equal(over.headers.get("x-should-retry"), "false");

console.log("all good");

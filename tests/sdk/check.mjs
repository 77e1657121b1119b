// The official Node SDK against Tollgate: what an application would do, and what it must see.

import assert from "node:assert/strict";
import OpenAI from "openai";

const prompt = process.env.PROMPT;
const messages = [{ role: "user", content: prompt }];
const tools = [
  {
    type: "function",
    function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

// Chat, whole and streamed.
const answer = await client.chat.completions.create({ model: "gpt-4o", messages });
assert.equal(answer.model, "gpt-4o-2024-11-20");
assert.match(answer.choices[0].message.content, / bytes$/);
assert.match(answer._request_id, /^req_/);
let text = "";
for await (const chunk of await client.chat.completions.create({ model: "gpt-4o", messages, stream: true })) {
  text += chunk.choices[0].delta.content ?? "";
}
assert.equal(text, "Hello, wörld 🌍");

// Tools, whole and gathered from a stream by the SDK's own helper.
const called = await client.chat.completions.create({ model: "gpt-4o", messages, tools });
assert.equal(called.choices[0].message.tool_calls[0].function.arguments, '{"city":"Oslo"}');
const gathered = await client.chat.completions.stream({ model: "gpt-4o", messages, tools }).finalChatCompletion();
const call = gathered.choices[0].message.tool_calls[0];
assert.deepEqual([call.function.name, call.function.arguments], ["weather", '{"city":"Oslo"}']);

// The other endpoints.
const completion = await client.completions.create({ model: "gpt-4o", prompt });
assert.equal(completion.choices[0].text, "done");
const embeddings = await client.embeddings.create({ model: "gpt-4o", input: prompt });
assert.deepEqual(embeddings.data[0].embedding, [0.5, -2]);
assert.equal((await client.responses.create({ model: "gpt-4o", input: prompt })).output_text, "answered");
const types = [];
for await (const event of await client.responses.create({ model: "gpt-4o", input: prompt, stream: true })) {
  types.push(event.type);
}
assert.equal(types.at(-1), "response.completed");
const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
assert.deepEqual(ids, ["gpt-4o", "same-listed"]);
assert.equal((await client.models.retrieve("same-listed")).owned_by, "them");
const counted = await client.responses.inputTokens.count({ model: "gpt-4o", input: prompt });
assert.equal(counted.input_tokens, 3);

// A body of 20 MB.
const large = await client.chat.completions.create({
  model: "gpt-4o",
  messages: [{ role: "user", content: "x".repeat(20_000_000) }],
});
assert.ok(parseInt(large.choices[0].message.content) > 20_000_000);

// Errors arrive as the SDK's own classes.
const fails = (kind, model, code) =>
  assert.rejects(client.chat.completions.create({ model, messages }), (error) => {
    assert.ok(error instanceof kind, error);
    assert.equal(error.code, code);
    return true;
  });
await fails(OpenAI.NotFoundError, "unheard-of", "model_not_found");
await fails(OpenAI.RateLimitError, "same-rate-limited", "rate_limit_exceeded");
await fails(OpenAI.InternalServerError, "same-broken", null);
const wrong = new OpenAI({ apiKey: "wrong", maxRetries: 0 });
await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);

// A stream that breaks in the middle is an error, not a short answer.
let chunks = 0;
await assert.rejects(async () => {
  for await (const _ of await client.chat.completions.create({ model: "same-cut", messages, stream: true })) chunks++;
}, OpenAI.APIError);
assert.equal(chunks, 1);

// Leaving a stream early is fine, and the upstream is let go: the test waits for that.
for await (const chunk of await client.chat.completions.create({ model: "same-endless", messages, stream: true })) {
  assert.equal(chunk.choices[0].delta.content, "first");
  break;
}

console.log("all good");

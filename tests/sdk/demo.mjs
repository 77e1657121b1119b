// The official Node SDK against the demo: its own first examples.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

// The SDK's first example, whole.
const answer = await client.responses.create({ model: "echo", instructions: "Be brief.", input: "hello wide world" });
assert.equal(answer.output_text, "hello wide world");
assert.equal(answer.usage.total_tokens, 6);

// A conversation in place of a text, streamed.
const input = [{ role: "user", content: [{ type: "input_text", text: "hello wide world" }] }];
let [text, number] = ["", 0];
for await (const event of await client.responses.create({ model: "echo", input, stream: true })) {
  assert.equal(event.sequence_number, number++);
  text += event.type === "response.output_text.delta" ? event.delta : "";
}
assert.equal(text, "hello wide world");

// Gathered by the SDK's own helper, which fails on an event that does not fit those before it.
const final = await client.responses.stream({ model: "lorem", input: "hello" }).finalResponse();
assert.match(final.output_text, /consequat\.$/);
assert.equal(final.usage.input_tokens, 1);

// The other first examples.
const messages = [{ role: "user", content: "hello" }];
const chat = await client.chat.completions.create({ model: "echo", messages });
assert.equal(chat.choices[0].message.content, "hello");
const embedded = await client.embeddings.create({ model: "embed", input: "hello" });
assert.equal(embedded.data[0].embedding.length, 16);

console.log("all good");

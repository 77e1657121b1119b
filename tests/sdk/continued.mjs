// What the Node SDK makes of a stream that another upstream went on with: one answer.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });
const expected = Array.from({ length: 60 }, (_, n) => `say${n} `).join("");
const messages = [{ role: "user", content: process.env.PROMPT }];

const stream = client.chat.completions.stream({
  model: "gpt-4o",
  messages,
  stream_options: { include_usage: true },
});
const answer = await stream.finalChatCompletion();
assert.equal(answer.id, "chatcmpl-1");
assert.equal(answer.choices.length, 1);
const [choice] = answer.choices;
assert.deepEqual([choice.index, choice.finish_reason, choice.message.role], [0, "stop", "assistant"]);
assert.equal(choice.message.content, expected);
const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
assert.equal(prompt_tokens + completion_tokens, total_tokens);
assert(completion_tokens > 60, JSON.stringify(answer.usage));

let text = "";
for await (const chunk of await client.chat.completions.create({ model: "gpt-4o", messages, stream: true })) {
  assert.equal(chunk.id, "chatcmpl-1");
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, expected);

console.log("all good");

// What the Node SDK makes of a stream of responses that breaks: an event with what there was and why.

import assert from "node:assert/strict";
import OpenAI from "openai";

const prompt = process.env.PROMPT;
const CUT = "The model's provider broke off in the middle of its answer.";
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

async function events(model) {
  const seen = [];
  for await (const event of await client.responses.create({ model, input: prompt, stream: true })) seen.push(event);
  return seen;
}

// A response that had begun has failed.
const begun = await events("same-begun");
const failed = begun.at(-1);
assert.equal(failed.type, "response.failed");
assert.deepEqual(begun.map((event) => event.sequence_number), begun.map((_, place) => place));
assert.equal(failed.response.status, "failed");
assert.deepEqual(failed.response.error, { code: "server_error", message: CUT });
assert.equal(failed.response.id, begun[0].response.id);
assert.deepEqual(failed.response.output.map((item) => item.type), ["function_call", "message"]);
assert.equal(failed.response.output[1].content[0].text, "forty-two");

// So it has for the SDK's helper, which checks what follows on what.
const stream = client.responses.stream({ model: "same-begun", input: prompt });
const told = [];
for await (const event of stream) told.push(event);
assert.equal(told.at(-1).type, "response.failed");
assert.equal(told.at(-1).response.error.message, CUT);
const final = await stream.finalResponse();
assert.deepEqual([final.status, final.error.message, final.output_text], ["failed", CUT, "forty-two"]);

// One of which nothing but a few words has come is told as an error, which this SDK throws.
await assert.rejects(events("same-bare"), (error) => {
  assert(error instanceof OpenAI.APIError, error);
  assert.equal(error.message, CUT);
  const told = { type: "error", code: "upstream_cut", message: CUT, param: null, sequence_number: 6 };
  assert.deepEqual(error.error, told);
  return true;
});

console.log("all good");

// The official Node SDK against Tollgate: sound and images, in forms whose model is rewritten.

import assert from "node:assert/strict";
import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import OpenAI, { toFile, toStreamingFile } from "openai";

const prompt = process.env.PROMPT;
const model = "gpt-4o";
const longSpeech = "long speech “ü”.mp3";
const [speech, image, mask] = ["speech.mp3", "image.png", "mask.png"].map((name) => readFileSync(name));
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });

const gather = async (stream) => {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
};
const images = (answer) => answer.data.map((image) => Buffer.from(image.b64_json, "base64"));
const fails = (call, status, code) =>
  assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.APIError, error);
    assert.deepEqual([error.status, error.code], [status, code]);
    return true;
  });

// Transcription: from a file, a stream, bytes with a name; as JSON, words, text and subtitles. The
// file stands before the model where the SDK keeps the order of the keys.
const heard = `transcribed ${speech.length} bytes of speech.mp3`;
const { audio } = client;
const file = await toFile(speech, "speech.mp3", { type: "audio/mpeg" });
assert.equal((await audio.transcriptions.create({ file, prompt, model })).text, heard);
const words = await audio.transcriptions.create({
  file: createReadStream("speech.mp3"),
  response_format: "verbose_json",
  timestamp_granularities: ["word", "segment"],
  model,
});
assert.deepEqual([words.words[0].word, words.duration, words.language], [heard, 2, "english"]);
const text = await audio.transcriptions.create({ file, model, response_format: "text", language: "en" });
assert.equal(text, `${heard}\n`);
const srt = await audio.transcriptions.create({ file, model, response_format: "srt" });
assert.equal(srt, `1\n00:00:00,000 --> 00:00:01,000\n${heard}\n\n`);

// A file that does not fit in memory and whose name is not plain: whole, and sent while it is read.
const heardLong = `transcribed ${statSync(longSpeech).size} bytes of ${longSpeech}`;
const long = await toFile(readFileSync(longSpeech), longSpeech);
assert.equal((await audio.transcriptions.create({ file: long, model })).text, heardLong);
const sending = toStreamingFile(createReadStream(longSpeech), longSpeech);
assert.equal((await audio.transcriptions.create({ file: sending, model })).text, heardLong);

// A transcription that is streamed.
const events = await gather(await audio.transcriptions.create({ file, model, stream: true }));
const last = events.pop();
assert.deepEqual([last.type, last.text], ["transcript.text.done", heard]);
assert.equal(events.map((event) => event.delta).join(""), heard);
assert.ok(events.length > 3 && events.every((event) => event.type === "transcript.text.delta"));

// Translation.
const translated = await audio.translations.create({ file, model, prompt });
assert.equal(translated.text, heard.replace("transcribed", "translated"));

// Speech goes into a file while it comes.
const said = await audio.speech.create({ model, voice: "alloy", input: prompt });
assert.equal(said.headers.get("content-type"), "audio/mpeg");
assert.match(said.headers.get("x-request-id"), /^req_/);
await pipeline(Readable.fromWeb(said.body), createWriteStream("said.mp3"));
assert.ok(readFileSync("said.mp3").equals(speech));
const broken = await audio.speech.create({ model, voice: "broken", input: prompt });
await assert.rejects(pipeline(Readable.fromWeb(broken.body), createWriteStream("short.mp3")));
// Leaving early is fine, and the upstream is let go: the test waits for that.
const endlessly = (await audio.speech.create({ model, voice: "endless", input: prompt })).body.getReader();
assert.ok((await endlessly.read()).value.length > 0);
await endlessly.cancel();

// Images: made, several with a mask, as events, and a variation.
const png = await toFile(image, "image.png", { type: "image/png" });
const masking = await toFile(mask, "mask.png", { type: "image/png" });
assert.deepEqual(images(await client.images.generate({ model, prompt })), [image]);
const edited = await client.images.edit({ image: [png, masking], mask: masking, prompt, n: 2, model });
assert.deepEqual(images(edited), [image, mask, mask]);
const steps = await gather(await client.images.edit({ image: png, prompt, model, stream: true, partial_images: 1 }));
assert.deepEqual(
  steps.map((event) => event.type),
  ["image_edit.partial_image", "image_edit.completed"],
);
assert.ok(Buffer.from(steps[1].b64_json, "base64").equals(image));
assert.deepEqual(images(await client.images.createVariation({ image: png, model })), [image]);

// Raw answers of forms, and several at once.
const { data, response } = await audio.transcriptions.create({ file, model }).withResponse();
assert.match(response.headers.get("x-request-id"), /^req_/);
assert.equal(data.text, heard);
const several = await Promise.all([1, 2, 3, 4].map(() => audio.transcriptions.create({ file, model })));
assert.deepEqual(
  several.map((answer) => answer.text),
  [heard, heard, heard, heard],
);

// Forms that cannot be served.
await fails(audio.transcriptions.create({ file }), 400, "missing_required_parameter");
await assert.rejects(audio.transcriptions.create({ file }), OpenAI.BadRequestError);
await fails(audio.transcriptions.create({ file, model: "unheard-of" }), 404, "model_not_found");
const endless = await toFile(Buffer.alloc(25 << 20), "endless.mp3");
await fails(audio.transcriptions.create({ file: endless, model }), 413, "request_too_large");
assert.equal((await audio.transcriptions.create({ file, model })).text, heard, "the client goes on");

console.log("all good");

"""The official Python SDK against Tollgate: sound and images, in forms whose model is rewritten."""

import asyncio
import base64
import io
import os
from pathlib import Path

import httpx2
import openai
from openai import AsyncOpenAI, OpenAI

PROMPT = os.environ["PROMPT"]
SPEECH, LONG_SPEECH = Path("speech.mp3"), Path("long speech “ü”.mp3")
IMAGE, MASK = Path("image.png"), Path("mask.png")

client = OpenAI(max_retries=0, timeout=20)


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def images(answer):
    return [base64.b64decode(image.b64_json) for image in answer.data]


# Transcription: from a path, an open file, bytes with a name; as JSON, words, text and subtitles.
heard = f"transcribed {SPEECH.stat().st_size} bytes of speech.mp3"
assert client.audio.transcriptions.create(model="gpt-4o", file=SPEECH, prompt=PROMPT).text == heard
with SPEECH.open("rb") as file:
    words = client.audio.transcriptions.create(
        model="gpt-4o", file=file, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
assert (words.words[0].word, words.duration, words.language) == (heard, 2, "english"), words
named = ("speech.mp3", io.BytesIO(SPEECH.read_bytes()), "audio/mpeg")
text = client.audio.transcriptions.create(model="gpt-4o", file=named, response_format="text", language="en")
assert text == heard + "\n", text
srt = client.audio.transcriptions.create(model="gpt-4o", file=SPEECH, response_format="srt")
assert srt == f"1\n00:00:00,000 --> 00:00:01,000\n{heard}\n\n", srt

# A file that does not fit in memory, and whose name is not plain.
long = client.audio.transcriptions.create(model="gpt-4o", file=LONG_SPEECH)
assert long.text == f"transcribed {LONG_SPEECH.stat().st_size} bytes of long speech “ü”.mp3", long

# A transcription that is streamed.
events = list(client.audio.transcriptions.create(model="gpt-4o", file=SPEECH, stream=True))
assert [e.type for e in events[:-1]] == ["transcript.text.delta"] * heard.count(" ") + ["transcript.text.delta"]
assert "".join(e.delta for e in events[:-1]) == heard, events
assert (events[-1].type, events[-1].text) == ("transcript.text.done", heard), events

# Translation.
translated = client.audio.translations.create(model="gpt-4o", file=SPEECH, prompt=PROMPT)
assert translated.text == heard.replace("transcribed", "translated"), translated

# Speech goes into a file while it comes, and is the same when it is read at once.
speech = client.audio.speech.with_streaming_response
with speech.create(model="gpt-4o", voice="alloy", input=PROMPT) as response:
    assert response.headers["content-type"] == "audio/mpeg" and response.request_id.startswith("req_")
    response.stream_to_file("said.mp3")
assert Path("said.mp3").read_bytes() == SPEECH.read_bytes()
assert client.audio.speech.create(model="gpt-4o", voice="alloy", input=PROMPT).content == SPEECH.read_bytes()
with speech.create(model="gpt-4o", voice="broken", input=PROMPT) as response:
    raises((openai.APIConnectionError, httpx2.TransportError), lambda: response.stream_to_file("short.mp3"))
# Leaving early is fine, and the upstream is let go: the test waits for that.
with speech.create(model="gpt-4o", voice="endless", input=PROMPT) as response:
    assert next(response.iter_bytes())

# Images: made, several with a mask, as events, and a variation.
assert images(client.images.generate(model="gpt-4o", prompt=PROMPT)) == [IMAGE.read_bytes()]
with IMAGE.open("rb") as image, MASK.open("rb") as mask:
    edited = client.images.edit(model="gpt-4o", image=[image, MASK], mask=mask, prompt=PROMPT, n=2)
assert images(edited) == [IMAGE.read_bytes(), MASK.read_bytes(), MASK.read_bytes()]
events = list(client.images.edit(model="gpt-4o", image=IMAGE, prompt=PROMPT, stream=True, partial_images=1))
assert [e.type for e in events] == ["image_edit.partial_image", "image_edit.completed"], events
assert base64.b64decode(events[-1].b64_json) == IMAGE.read_bytes()
assert images(client.images.create_variation(model="gpt-4o", image=IMAGE)) == [IMAGE.read_bytes()]

# Raw answers of forms.
raw = client.audio.transcriptions.with_raw_response.create(model="gpt-4o", file=SPEECH)
assert raw.headers["x-request-id"].startswith("req_") and raw.parse().text == heard, raw.headers

# Forms that cannot be served.
form = {"files": {"file": SPEECH}, "options": {"headers": {"Content-Type": "multipart/form-data"}}, "cast_to": object}
error = raises(openai.BadRequestError, lambda: client.post("/audio/transcriptions", body={"prompt": PROMPT}, **form))
assert (error.code, error.param) == ("missing_required_parameter", "model"), error
unknown = lambda: client.audio.transcriptions.create(model="unheard-of", file=SPEECH)
assert raises(openai.NotFoundError, unknown).code == "model_not_found"
too_long = ("endless.mp3", b"\0" * (25 << 20))
error = raises(openai.APIStatusError, lambda: client.audio.transcriptions.create(model="gpt-4o", file=too_long))
assert (error.status_code, error.code) == (413, "request_too_large"), error
assert client.audio.transcriptions.create(model="gpt-4o", file=SPEECH).text == heard, "the client goes on"


async def asynchronously():
    async with AsyncOpenAI(max_retries=0, timeout=20) as client:
        answers = await asyncio.gather(
            *(client.audio.transcriptions.create(model="gpt-4o", file=SPEECH) for _ in range(4)),
            client.audio.translations.create(model="gpt-4o", file=LONG_SPEECH),
        )
        assert [answer.text for answer in answers[:4]] == [heard] * 4, answers
        assert answers[4].text.startswith("translated "), answers
        stream = await client.audio.transcriptions.create(model="gpt-4o", file=SPEECH, stream=True)
        assert [event.type async for event in stream][-1] == "transcript.text.done"
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="gpt-4o", voice="alloy", input=PROMPT) as response:
            await response.stream_to_file("said again.mp3")
        assert Path("said again.mp3").read_bytes() == SPEECH.read_bytes()


asyncio.run(asynchronously())

print("all good")

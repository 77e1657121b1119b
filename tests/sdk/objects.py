"""The official Python SDK against Tollgate: what is kept at the provider's, and found there again."""

import asyncio
import hashlib
import os
from pathlib import Path

import httpx2
import openai
from openai import AsyncOpenAI, OpenAI

PROMPT = os.environ["PROMPT"]
MESSAGES = [{"role": "user", "content": PROMPT}]
LARGE = Path("large.bin")

client = OpenAI(max_retries=0, timeout=20)


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def ids(objects):
    return [thing.id for thing in objects]


# Files: made, listed page by page, asked for, read and deleted.
made = [
    client.files.create(
        file=(f"{n}.jsonl", f'{{"n":{n},"prompt":"{PROMPT}"}}\n'.encode()),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    for n in range(5)
]
assert made[0].filename == "0.jsonl" and made[0].purpose == "batch" and made[0].status == "processed", made[0]
assert ids(client.files.list(limit=2)) == ids(made), "each page is asked for"
page = client.files.list(limit=2, after=made[0].id)
assert ids(page.data) == ids(made[1:3]) and page.has_more and page.has_next_page(), page
page = page.get_next_page()
assert ids(page.data) == ids(made[3:]) and not page.has_next_page(), page
assert client.files.retrieve(made[1].id).filename == "1.jsonl"
assert client.files.content(made[1].id).text == f'{{"n":1,"prompt":"{PROMPT}"}}\n'
assert client.files.delete(made[1].id).deleted is True
error = raises(openai.NotFoundError, lambda: client.files.retrieve(made[1].id))
assert error.status_code == 404 and error.body["message"] == f"No such file: {made[1].id}", error
assert error.request_id.startswith("req_"), error.request_id
raises(openai.NotFoundError, lambda: client.files.content(made[1].id))
assert len(list(client.files.list(limit=2))) == 4

# 20 MB, up and down: from disk, at once and as a stream, and in parts.
large = client.files.create(file=LARGE, purpose="user_data")
assert large.bytes == LARGE.stat().st_size, large
assert sha256(client.files.content(large.id).read()) == sha256(LARGE.read_bytes())
with client.files.with_streaming_response.content(large.id) as response:
    assert response.headers["content-length"] == str(large.bytes), response.headers
    response.stream_to_file("copy.bin")
assert sha256(Path("copy.bin").read_bytes()) == sha256(LARGE.read_bytes())
whole = client.uploads.upload_file_chunked(
    file=LARGE, mime_type="application/octet-stream", purpose="user_data", part_size=6_000_000
)
assert whole.status == "completed" and whole.file.filename == "large.bin", whole
assert sha256(client.files.content(whole.file.id).read()) == sha256(LARGE.read_bytes())

# An upload step by step: its parts in the order that is asked for, and one that is given up.
upload = client.uploads.create(bytes=6, filename="two.txt", mime_type="text/plain", purpose="assistants")
assert upload.status == "pending", upload
second = client.uploads.parts.create(upload.id, data=b"two")
first = client.uploads.parts.create(upload.id, data=b"one")
upload = client.uploads.complete(upload.id, part_ids=[first.id, second.id])
assert client.files.content(upload.file.id).read() == b"onetwo"
given_up = client.uploads.create(bytes=9, filename="no.txt", mime_type="text/plain", purpose="assistants")
assert client.uploads.cancel(given_up.id).status == "cancelled"

# A download that breaks in the middle raises: there is no short file.
lost = (openai.APIConnectionError, httpx2.TransportError)
for broken in ["file-broken", "file-broken-chunks"]:
    raises(lost, lambda: client.files.content(broken))
    with client.files.with_streaming_response.content(broken) as response:
        raises(lost, lambda: response.stream_to_file("short.bin"))

# Leaving a download early is fine, and the upstream is let go: the test waits for that.
with client.files.with_streaming_response.content("file-endless") as response:
    assert next(response.iter_bytes())

# Raw answers: the request's id is ours, and what the provider says of our account stays with us.
raw = client.files.with_raw_response.list(limit=1)
assert raw.headers["x-request-id"].startswith("req_") and raw.request_id == raw.headers["x-request-id"]
assert raw.headers["openai-processing-ms"] == "7" and "openai-organization" not in raw.headers, raw.headers
assert raw.status_code == 200 and ids(raw.parse().data) == ids(made[:1]), raw.text
raw = client.files.with_raw_response.retrieve("file-gzip")
assert raw.headers["content-encoding"] == "gzip" and raw.parse().id == "file-gzip", raw.headers
raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES, store=True)
assert raw.headers["x-request-id"].startswith("req_") and "openai-organization" not in raw.headers, raw.headers
stored = raw.parse()
assert stored.choices[0].message.content == "answered" and stored.model == "gpt-4o-2024-11-20", stored

# A client with other options: what may be tried again is, and else the provider's error arrives.
assert client.with_options(max_retries=2).files.retrieve("file-flaky").id == "file-flaky"
error = raises(openai.InternalServerError, lambda: client.files.retrieve("file-overloaded"))
assert error.status_code == 503 and error.body["message"] == "The engine is overloaded", error
wrong = client.with_options(api_key="wrong")
assert raises(openai.AuthenticationError, lambda: wrong.files.list()).code == "invalid_api_key"
raises(openai.AuthenticationError, lambda: wrong.files.create(file=LARGE, purpose="user_data"))
other = client.with_options(default_headers={"OpenAI-Organization": "org-client"}, timeout=5)
assert other.files.retrieve(made[0].id).id == made[0].id

# Stored chat completions.
more = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, store=True, metadata={"n": "2"})
assert ids(client.chat.completions.list(limit=1)) == [stored.id, more.id]
assert client.chat.completions.retrieve(more.id).metadata == {"n": "2"}
assert client.chat.completions.update(more.id, metadata={"n": "3"}).metadata == {"n": "3"}
assert [m.content for m in client.chat.completions.messages.list(more.id)] == [PROMPT]
assert client.chat.completions.delete(stored.id).deleted is True
raises(openai.NotFoundError, lambda: client.chat.completions.retrieve(stored.id))

# Stored responses: asked for, resumed as a stream, cancelled and deleted.
inputs = [{"role": "user", "content": f"{PROMPT} {n}"} for n in range(3)]
made_response = client.responses.create(model="gpt-4o", input=inputs, background=True)
response = client.responses.retrieve(made_response.id)
assert response.output_text == "answered" and response.model == "gpt-4o-2024-11-20", response
events = list(client.responses.retrieve(response.id, stream=True, starting_after=0))
assert [e.type for e in events] == ["response.output_text.delta", "response.completed"], events
assert events[-1].response.output_text == "answered", events
items = client.responses.input_items.list(response.id, limit=2)
assert [item.content for item in items] == [item["content"] for item in inputs], items
assert client.responses.cancel(response.id).status == "cancelled"
client.responses.delete(response.id)
raises(openai.NotFoundError, lambda: client.responses.retrieve(response.id))

# Batches and fine-tuning jobs.
batches = [
    client.batches.create(input_file_id=made[n].id, endpoint="/v1/chat/completions", completion_window="24h")
    for n in (0, 2, 3)
]
assert client.batches.retrieve(batches[0].id).input_file_id == made[0].id
assert ids(client.batches.list(limit=2)) == ids(batches)
assert client.batches.cancel(batches[0].id).status == "cancelled"
jobs = [client.fine_tuning.jobs.create(model="gpt-4o", training_file=made[0].id) for _ in range(3)]
assert ids(client.fine_tuning.jobs.list(limit=2)) == ids(jobs)
assert client.fine_tuning.jobs.retrieve(jobs[1].id).training_file == made[0].id
# Its model has the rule's name, and one that the key is not for is refused.
assert jobs[1].model == "gpt-4o-2024-11-20", jobs[1]
raises(openai.NotFoundError, lambda: client.fine_tuning.jobs.create(model="forbidden", training_file=made[0].id))
assert client.fine_tuning.jobs.cancel(jobs[1].id).status == "cancelled"

# Videos are asked for with a form. Its model has the rule's name, and one that the key is not for is refused.
video = client.videos.create(model="gpt-4o", prompt=PROMPT, seconds="4")
assert (video.model, video.seconds) == ("gpt-4o-2024-11-20", "4"), video
assert client.videos.retrieve(video.id).model == "gpt-4o-2024-11-20"
picture = ("first.png", b"\x89PNG\r\n\x1a\n", "image/png")
video = client.videos.create_and_poll(model="gpt-4o", prompt=PROMPT, input_reference=picture)
assert (video.model, video.status) == ("gpt-4o-2024-11-20", "completed"), video
assert client.videos.delete(video.id).deleted is True
for pictures in [{}, {"input_reference": picture}]:
    raises(openai.NotFoundError, lambda: client.videos.create(model="forbidden", prompt=PROMPT, **pictures))

# Vector stores: the SDK's own helper uploads a file and asks until it is done, as often as it is told.
stores = [client.vector_stores.create(name=f"store {n}") for n in range(3)]
assert ids(client.vector_stores.list(limit=2)) == ids(stores)
inside = client.vector_stores.files.upload_and_poll(vector_store_id=stores[0].id, file=("in.txt", b"text"))
assert inside.status == "completed", inside
assert ids(client.vector_stores.files.list(stores[0].id)) == [inside.id]
assert client.vector_stores.update(stores[1].id, name="new").name == "new"
assert client.vector_stores.delete(stores[1].id).deleted is True

# Conversations.
conversation = client.conversations.create(items=inputs, metadata={"n": "1"})
assert client.conversations.retrieve(conversation.id).metadata == {"n": "1"}
items = client.conversations.items.list(conversation.id, limit=2)
assert [item.content for item in items] == [item["content"] for item in inputs], items
assert client.conversations.delete(conversation.id).deleted is True

# What is in beta passes, with the header or the query that says so.
assistant = client.beta.assistants.create(model="gpt-4o", instructions=PROMPT)
assert client.beta.assistants.retrieve(assistant.id).instructions == PROMPT
assert assistant.model == "gpt-4o-2024-11-20", assistant
assert ids(client.beta.assistants.list(limit=1)) == [assistant.id]
thread = client.beta.threads.create(messages=MESSAGES)
client.beta.threads.messages.create(thread.id, role="user", content="more")
assert [m.content for m in client.beta.threads.messages.list(thread.id, limit=1)] == [PROMPT, "more"]
run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, model="gpt-4o")
assert run.model == "gpt-4o-2024-11-20", run
run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
assert run.status == "completed", run
assert client.beta.threads.delete(thread.id).deleted is True

in_beta = client.beta.responses.create(model="gpt-4o", input=inputs)
assert client.beta.responses.retrieve(in_beta.id).model == "gpt-4o-2024-11-20"

# Containers, and the files in them.
box = client.containers.create(name="box")
assert ids(client.containers.list()) == [box.id]
boxed = client.containers.files.create(box.id, file=("boxed.txt", b"boxed"))
assert client.containers.files.content.retrieve(boxed.id, container_id=box.id).read() == b"boxed"

# Models are not passed through: what may be asked for is listed, and nothing else.
assert ids(client.models.list()) == ["gpt-4o", "same-listed"]
assert client.models.retrieve("same-listed").owned_by == "them"
for unknown in ["forbidden", "same-unlisted"]:
    assert raises(openai.NotFoundError, lambda: client.models.retrieve(unknown)).code == "model_not_found"


async def asynchronously():
    async with AsyncOpenAI(max_retries=0, timeout=20) as client:
        assert [f.id async for f in client.files.list(limit=2)][:1] == ids(made[:1])
        made_at_once = await asyncio.gather(
            *(client.files.create(file=(f"{n}.txt", str(n).encode()), purpose="user_data") for n in range(8))
        )
        contents = await asyncio.gather(*(client.files.content(file.id) for file in made_at_once))
        assert [content.text for content in contents] == [str(n) for n in range(8)], contents
        async with client.files.with_streaming_response.content(large.id) as response:
            hashed = hashlib.sha256()
            async for chunk in response.iter_bytes():
                hashed.update(chunk)
        assert hashed.hexdigest() == sha256(LARGE.read_bytes())
        answer = await client.responses.create(model="gpt-4o", input=inputs)
        stream = await client.responses.retrieve(answer.id, stream=True, starting_after=0)
        assert [event.type async for event in stream][-1] == "response.completed"
        try:
            await client.files.retrieve("file-missing")
        except openai.NotFoundError as error:
            assert error.body["message"] == "No such file: file-missing", error
        else:
            raise AssertionError("NotFoundError was expected")


asyncio.run(asynchronously())

print("all good")

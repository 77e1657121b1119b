"""The official Python SDK's sockets against Tollgate, and the library under them."""

import asyncio
import base64
import json
import os
import signal

import websockets.sync.client
from openai import AsyncOpenAI, OpenAI
from websockets.exceptions import ConnectionClosedError, InvalidStatus

PROMPT = os.environ["PROMPT"]
KEY = os.environ["OPENAI_API_KEY"]

# Whatever hangs is a failure.
signal.alarm(60)
client = OpenAI(max_retries=0, timeout=20)


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


# A session: the provider greets, is told something, and answers in events.
with client.realtime.connect(model="gpt-4o") as connection:
    created = connection.recv()
    assert created.type == "session.created", created
    assert created.session.model == "gpt-4o-2024-11-20", created
    connection.session.update(session={"type": "realtime", "instructions": PROMPT})
    updated = connection.recv()
    assert (updated.type, updated.session.instructions) == ("session.updated", PROMPT), updated
    # Audio of 1 MiB in one event.
    audio = base64.b64encode(bytes(1 << 20)).decode()
    connection.input_audio_buffer.append(audio=audio)
    assert connection.recv().item_id == f"item_{len(audio)}"
    connection.response.create()
    text = ""
    for event in connection:
        if event.type == "response.done":
            assert event.response.usage.total_tokens == 3, event
            break
        assert event.type == "response.output_text.delta", event
        text += event.delta
    assert text == "Hello, wörld 🌍", text
    # The provider closes, with a code of its own.
    connection.input_audio_buffer.clear()
    error = raises(ConnectionClosedError, connection.recv)
    assert (error.rcvd.code, error.rcvd.reason) == (4008, "session expired"), error


async def asynchronously():
    async with AsyncOpenAI(max_retries=0, timeout=20) as client:
        async with client.realtime.connect(model="same-x") as connection:
            created = await connection.recv()
            assert created.session.model == "same-x", created
            await connection.response.create()
            async for event in connection:
                if event.type == "response.done":
                    return


asyncio.run(asynchronously())

# Responses over a socket.
with client.responses.connect() as connection:
    connection.response.create(model="gpt-4o", input=PROMPT)
    types = [connection.recv().type, connection.recv().type]
    assert types == ["response.output_text.delta", "response.completed"], types

# A wrong key is told over the socket, in the form that the SDK reads.
with OpenAI(api_key="wrong").realtime.connect(model="gpt-4o") as connection:
    event = connection.recv()
    assert (event.type, event.error.code) == ("error", "invalid_api_key"), event
    error = raises(ConnectionClosedError, connection.recv)
    assert (error.rcvd.code, error.rcvd.reason) == (3000, "invalid_api_key"), error

# Any other refusal is an answer, and has its reason.
error = raises(InvalidStatus, client.realtime.connect(model="unheard-of").enter)
assert error.response.status_code == 404, error
assert json.loads(error.response.body)["error"]["code"] == "model_not_found", error.response

# The bare library, with the key where a browser has it.
url = os.environ["OPENAI_BASE_URL"].replace("http", "ws") + "/realtime?model=gpt-4o"
protocols = ["realtime", f"openai-insecure-api-key.{KEY}"]
with websockets.sync.client.connect(url, subprotocols=protocols, open_timeout=20) as socket:
    assert socket.subprotocol == "realtime", socket.subprotocol
    assert json.loads(socket.recv(timeout=20))["type"] == "session.created"
    # Offered by this library as it comes, and not taken.
    assert socket.protocol.extensions == [], socket.protocol.extensions
    assert socket.ping().wait(20)

print("all good")

"""The official Python SDK against Tollgate: what an application would do, and what it must see."""

import os

import openai
from openai import OpenAI

PROMPT = os.environ["PROMPT"]
MESSAGES = [{"role": "user", "content": PROMPT}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

client = OpenAI(max_retries=0, timeout=20)


def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


# Chat, whole and streamed.
answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
assert answer.model == "gpt-4o-2024-11-20", answer
assert answer.choices[0].message.content.endswith(" bytes"), answer
assert answer._request_id.startswith("req_"), answer._request_id
stream = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
assert text == "Hello, wörld 🌍", text

# Tools, whole and gathered from a stream by the SDK's own helper.
answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=[WEATHER])
assert answer.choices[0].message.tool_calls[0].function.arguments == '{"city":"Oslo"}'
with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES, tools=[WEATHER]) as stream:
    call = stream.get_final_completion().choices[0].message.tool_calls[0]
assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Oslo"}'), call

# The other endpoints.
assert client.completions.create(model="gpt-4o", prompt=PROMPT).choices[0].text == "done"
vector = client.embeddings.create(model="gpt-4o", input=PROMPT).data[0].embedding
assert vector == [0.5, -2.0], vector
assert client.responses.create(model="gpt-4o", input=PROMPT).output_text == "answered"
events = list(client.responses.create(model="gpt-4o", input=PROMPT, stream=True))
assert [e.type for e in events][-1] == "response.completed", events
assert client.moderations.create(model="gpt-4o", input=PROMPT).results[0].flagged is False
assert [m.id for m in client.models.list()] == ["gpt-4o", "same-listed"]
assert client.models.retrieve("same-listed").owned_by == "them"
assert client.responses.input_tokens.count(model="gpt-4o", input=PROMPT).input_tokens == 3

# A body of 20 MB.
large = client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "x" * 20_000_000}]
)
assert int(large.choices[0].message.content.split()[0]) > 20_000_000, large

# Errors arrive as the SDK's own classes.
error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="unheard-of", messages=MESSAGES))
assert (error.code, error.param) == ("model_not_found", "model"), error
error = raises(openai.BadRequestError, lambda: client.post("/chat/completions", body={"messages": []}, cast_to=object))
assert error.code == "missing_required_parameter", error
wrong = OpenAI(api_key="wrong", max_retries=0)
error = raises(openai.AuthenticationError, lambda: wrong.chat.completions.create(model="gpt-4o", messages=MESSAGES))
assert error.code == "invalid_api_key", error
error = raises(openai.RateLimitError, lambda: client.chat.completions.create(model="same-rate-limited", messages=MESSAGES))
assert error.response.headers["retry-after"] == "1", error
raises(openai.InternalServerError, lambda: client.chat.completions.create(model="same-broken", messages=MESSAGES))

# A stream that breaks in the middle is an error, not a short answer.
stream = client.chat.completions.create(model="same-cut", messages=MESSAGES, stream=True)
seen = []
error = raises(openai.APIError, lambda: seen.extend(stream))
assert len(seen) == 1 and error.code == "upstream_cut", (seen, error)

# Leaving a stream early is fine, and the upstream is let go: the test waits for that.
stream = client.chat.completions.create(model="same-endless", messages=MESSAGES, stream=True)
for chunk in stream:
    assert chunk.choices[0].delta.content == "first"
    break
stream.close()

print("all good")

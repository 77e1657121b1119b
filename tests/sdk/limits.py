"""What the Python SDK makes of limits and quotas: its own exceptions, with codes, headers and no vain retries."""

import os

import openai
from openai import OpenAI

MESSAGES = [{"role": "user", "content": os.environ["PROMPT"]}]

# With the retries that an application has by default.
client = OpenAI(timeout=20)
poor = OpenAI(timeout=20, api_key=os.environ["POOR_KEY"])


def refused(call):
    try:
        call()
    except openai.RateLimitError as error:
        assert error.status_code == 429, error
        assert error.request_id.startswith("req_"), error.request_id
        return error
    raise AssertionError("it was not refused")


def ask(asking, model, **more):
    return asking.chat.completions.create(model=model, messages=MESSAGES, **more)


# An application sees how its limits stand, of an answer and of a stream.
raw = client.chat.completions.with_raw_response.create(model="same-x", messages=MESSAGES)
assert raw.headers["x-ratelimit-limit-requests"] == "1000", raw.headers
assert raw.headers["x-ratelimit-remaining-requests"] == "999", raw.headers
assert raw.headers["x-ratelimit-limit-tokens"] == "100000", raw.headers
assert int(raw.headers["x-ratelimit-remaining-tokens"]) < 100_000, raw.headers
assert raw.headers["x-ratelimit-reset-requests"].endswith("s"), raw.headers
assert raw.parse().choices[0].message.content == "x"
with client.chat.completions.with_streaming_response.create(
    model="same-x", messages=MESSAGES, stream=True
) as raw:
    assert raw.headers["x-ratelimit-remaining-requests"] == "998", raw.headers
    raw.read()

# The limit of a rule, once for a whole answer and once for a stream.
ask(client, "gpt-4o")
for more in [{}, {"stream": True}]:
    error = refused(lambda: ask(client, "gpt-4o", **more))
    assert error.code == "rate_limit_exceeded", error.code
    assert error.type == "requests", error.type
    assert "requests_per_day" in error.message, error.message
    assert int(error.response.headers["retry-after"]) > 60, error.response.headers
    assert error.response.headers["x-should-retry"] == "false", error.response.headers
    assert error.response.headers["x-ratelimit-remaining-requests"] == "997", error.response.headers

# A request for more tokens than can ever pass.
error = refused(lambda: ask(client, "same-x", max_tokens=1_000_000))
assert (error.code, error.type) == ("rate_limit_exceeded", "tokens"), error

# A quota that is used up.
ask(poor, "same-x")
error = refused(lambda: ask(poor, "same-x"))
assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota"), error
assert error.response.headers["x-should-retry"] == "false", error.response.headers

print("all good")

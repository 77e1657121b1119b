"""What the Python SDK makes of a stream of responses that breaks: a typed event, with what there was and why."""

import os

from openai import OpenAI
from openai.types.responses import ResponseErrorEvent, ResponseFailedEvent

PROMPT = os.environ["PROMPT"]
CUT = "The model's provider broke off in the middle of its answer."
client = OpenAI(max_retries=0, timeout=20)


def events(model):
    """What comes, as the SDK reads it: it does not look whether that is valid."""
    return list(client.responses.create(model=model, input=PROMPT, stream=True))


# A response that had begun has failed.
seen = events("same-begun")
last = seen[-1]
assert isinstance(last, ResponseFailedEvent), last
ResponseFailedEvent.model_validate_json(last.to_json(), strict=True)
numbers = [event.sequence_number for event in seen]
assert numbers == list(range(len(seen))), numbers
assert last.response.status == "failed", last
assert (last.response.error.code, last.response.error.message) == ("server_error", CUT), last
assert last.response.id == seen[0].response.id, last
assert last.response.output_text == "forty-two", last
assert [item.type for item in last.response.output] == ["function_call", "message"], last
assert last.response.output[0].arguments == '{"a":1}', last

# So it has for the SDK's helper, which tells each event on.
with client.responses.stream(model="same-begun", input=PROMPT) as stream:
    told = list(stream)
assert told[-1].type == "response.failed" and told[-1].response.error.message == CUT, told[-1]

# One of which nothing but a few words has come is told as an error.
seen = events("same-bare")
last = seen[-1]
assert isinstance(last, ResponseErrorEvent), last
ResponseErrorEvent.model_validate_json(last.to_json(), strict=True)
assert (last.code, last.message, last.sequence_number) == ("upstream_cut", CUT, 6), last

print("all good")

"""The official Python SDK against the demo: its own first examples, checked by its own types."""

from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

client = OpenAI(max_retries=0, timeout=20)
EVENT = TypeAdapter(ResponseStreamEvent)

# The SDK's first example, whole. Its types are checked as it never checks them by itself.
answer = client.responses.create(model="echo", instructions="Be brief.", input="hello wide world")
assert answer.output_text == "hello wide world", answer
assert answer.instructions == "Be brief.", answer
assert answer.usage.total_tokens == 6, answer.usage
Response.model_validate(answer.to_dict(), strict=False)

# A conversation in place of a text, streamed.
asked = [
    {"role": "user", "content": "once"},
    {"role": "user", "content": [{"type": "input_text", "text": "hello wide world"}]},
]
kinds, text = [], ""
for number, event in enumerate(client.responses.create(model="echo", input=asked, stream=True)):
    EVENT.validate_python(event.to_dict())
    assert event.sequence_number == number, event
    kinds.append(event.type)
    text += event.delta if event.type == "response.output_text.delta" else ""
assert text == "hello wide world", text
assert kinds == [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 3,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
], kinds

# Gathered by the SDK's own helper.
with client.responses.stream(model="lorem", input="hello") as stream:
    final = stream.get_final_response()
assert final.output_text.endswith("consequat."), final
assert final.usage.input_tokens == 1, final.usage

# The other first examples.
messages = [{"role": "user", "content": "hello"}]
assert client.chat.completions.create(model="echo", messages=messages).choices[0].message.content == "hello"
assert len(client.embeddings.create(model="embed", input="hello").data[0].embedding) == 16
assert "echo" in [model.id for model in client.models.list()]

print("all good")

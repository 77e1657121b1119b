"""What the Python SDK makes of a stream that another upstream went on with: one answer."""

import os

from openai import OpenAI

PROMPT = os.environ["PROMPT"]
EXPECTED = " ".join(f"say{n}" for n in range(60)) + " "
client = OpenAI(max_retries=0, timeout=20)
messages = [{"role": "user", "content": PROMPT}]

with client.chat.completions.stream(
    model="gpt-4o", messages=messages, stream_options={"include_usage": True}
) as stream:
    for event in stream:
        pass
    answer = stream.get_final_completion()

assert answer.id == "chatcmpl-1", answer
assert len(answer.choices) == 1, answer
choice = answer.choices[0]
assert choice.index == 0 and choice.finish_reason == "stop", answer
assert choice.message.role == "assistant", answer
assert choice.message.content == EXPECTED, choice.message.content
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer
assert answer.usage.completion_tokens > 60, answer

# Chunk by chunk.
chunks = list(client.chat.completions.create(model="gpt-4o", messages=messages, stream=True))
assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}, chunks
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == EXPECTED
assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
assert all(chunk.usage is None for chunk in chunks)

print("all good")

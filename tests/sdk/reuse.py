"""What the Python SDK makes of answers that Tollgate gives again: the same objects, whichever form was kept."""

import os

from openai import OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion

PROMPT = os.environ["PROMPT"]
USAGE = {"stream_options": {"include_usage": True}}

client = OpenAI(max_retries=0, timeout=20)

# The endpoints that answer in both forms: the recorded answer, and what is asked.
BOTH_FORMS = {
    "openai_chat": (client.chat.completions, {"messages": [{"role": "user", "content": PROMPT}]}),
    "openai_completions": (client.completions, {"prompt": PROMPT}),
    "openai_responses": (client.responses, {"input": PROMPT, "store": False}),
}


def plain(thing):
    """An SDK's object as an application sees it: what is absent is null."""
    return thing.model_dump(mode="json", warnings=False)


def differences(left, right, place=""):
    """The places where two objects differ; what is absent is null."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            yield from differences(left.get(name), right.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right)):
            yield from differences(one, other, f"{place}.{index}")
    elif left != right:
        yield place


class Asked:
    """The answers to one request: the first from the provider, the others of the same id from the cache."""

    def __init__(self, resource, **params):
        self.create = resource.with_raw_response.create
        self.params = params
        self.id = None

    def raw(self, **more):
        answer = self.create(**self.params, **more)
        result = "miss" if self.id is None else "hit"
        assert answer.headers["x-tollgate-cache"] == result, (self.params, more, answer.headers)
        if self.id is None:
            self.id = answer.headers["x-request-id"]
        else:
            assert answer.headers["x-tollgate-cache-id"] == self.id, answer.headers
            assert int(answer.headers["age"]) >= 0, answer.headers
        return answer

    def whole(self):
        return self.raw().parse()

    def chunks(self, **more):
        with self.raw(stream=True, **more).parse() as stream:
            return list(stream)


def accumulated(name, chunks):
    """What an application has at the end of a stream."""
    if name == "openai_responses":
        return plain(chunks[-1].response)
    if name == "openai_chat":
        state = ChatCompletionStreamState()
        for chunk in chunks:
            state.handle_chunk(chunk)
        return plain(state.get_final_completion())
    pieces = [chunk.to_dict(mode="json") for chunk in chunks]
    choices = [choice for piece in pieces for choice in piece["choices"]]
    logprobs = [choice["logprobs"] for choice in choices]
    choice = {
        "index": 0,
        "text": "".join(choice["text"] for choice in choices),
        "finish_reason": choices[-1]["finish_reason"],
        "logprobs": {part: sum((of[part] for of in logprobs if of), []) for part in logprobs[0]},
    }
    return plain(Completion.model_validate({**pieces[-1], "choices": [choice]}))


def dicts(chunks):
    return [chunk.to_dict(mode="json") for chunk in chunks]


for name, (resource, asks) in BOTH_FORMS.items():
    tells_always = name == "openai_responses"
    with_usage = {} if tells_always else USAGE

    # A whole answer is kept: it comes back whole, and as a stream.
    asked = Asked(resource, model=f"same-{name}", temperature=0, **asks)
    first = asked.whole()
    assert first.id and first.usage.total_tokens > 0, first
    again = asked.whole()
    assert type(again) is type(first) and again.to_dict() == first.to_dict(), (name, first, again)
    made = accumulated(name, asked.chunks(**with_usage))
    assert list(differences(plain(first), made)) == [], (name, first, made)
    made = accumulated(name, asked.chunks())
    wrong = [] if tells_always else ["usage"]
    assert list(differences(plain(first), made)) == wrong, (name, first, made)

    # A stream is kept: it comes back as it was, with its usage, and whole.
    asked = Asked(resource, model=f"same-{name}", temperature=0, top_p=0.5, **asks)
    chunks = asked.chunks()
    assert len(chunks) > 3, chunks
    assert dicts(asked.chunks()) == dicts(chunks), name
    told = asked.chunks(**with_usage)
    if not tells_always:
        assert not any(chunk.usage for chunk in chunks), chunks
        assert told[-1].usage.total_tokens > 0 and told[-1].choices == [], told[-1]
    made = asked.whole()
    assert list(differences(plain(made), accumulated(name, told))) == [], (name, made, told)
    assert made.id == first.id and made.usage.to_dict() == first.usage.to_dict(), (name, made)

# Embeddings: as the SDK asks for them, in Base64, and as numbers.
for more in {}, {"encoding_format": "float"}:
    asked = Asked(client.embeddings, model="same-embedding", input=PROMPT, **more)
    first = asked.whole()
    assert first.data[0].embedding == [0.5, -2.0], first
    assert asked.whole().to_dict() == first.to_dict()

# Speech: the same bytes.
asked = Asked(client.audio.speech, model="same-tts", voice="alloy", input=PROMPT)
first, again = asked.raw(), asked.raw()
assert len(first.content) > 10_000 and again.content == first.content
assert again.headers["content-type"] == first.headers["content-type"] == "audio/mpeg"

# Other questions that mean the same: the answer to the first, whole and as a stream.
def by_meaning(verb, result, **more):
    messages = [{"role": "user", "content": f"How {verb} I reset my password?"}]
    create = client.chat.completions.with_raw_response.create
    answer = create(model="same-meaning", messages=messages, **more)
    assert answer.headers["x-tollgate-cache"] == result, answer.headers
    if result == "semantic":
        assert 0.9 <= float(answer.headers["x-tollgate-similarity"]) <= 1, answer.headers
    return answer.parse()


first = by_meaning("do", "miss")
assert by_meaning("can", "semantic").to_dict() == first.to_dict()
with by_meaning("could", "semantic", stream=True, **USAGE) as stream:
    made = accumulated("openai_chat", list(stream))
assert list(differences(plain(first), made)) == [], (first, made)

print("all good")

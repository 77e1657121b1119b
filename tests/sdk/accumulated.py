"""The Python SDK's own accumulators over recorded streams, straight from the provider and through Tollgate."""

import os
import re
import sys

import openai
from openai import OpenAI
from openai.types import Completion

PROMPT = os.environ["PROMPT"]
MESSAGES = [{"role": "user", "content": PROMPT}]

gateway = OpenAI(max_retries=0, timeout=20)
provider = OpenAI(max_retries=0, timeout=20, base_url=os.environ["PROVIDER_URL"])

# What it cannot accumulate, whoever sends it.
FAILS = {
    # It takes every call for one of a function.
    "openai_custom_tool": "AttributeError: 'dict' object has no attribute 'name'",
}

# Where what it makes of a provider's own stream is not what the provider would have answered.
WRONG = {
    # Of what it does not know, the first chunk of a choice counts; a chunk of no known object never.
    "azure_chat": [
        "choices.0.content_filter_offsets",
        "choices.0.content_filter_results.hate",
        "choices.0.content_filter_results.self_harm",
        "choices.0.content_filter_results.sexual",
        "choices.0.content_filter_results.violence",
        "prompt_filter_results",
    ],
    # Each chunk tells the role, and they are joined; both calls have the place 0, and they too.
    "gemini_tools": ["choices.0.message.role", "choices.0.message.tool_calls"],
    # The first chunk counts again.
    "groq_chat": ["x_groq.usage"],
    # Calls come without a type, and with a content that is empty where one answer has none.
    "mistral_tools": [
        "choices.0.message.content",
        "choices.0.message.tool_calls.0.type",
        "choices.0.message.tool_calls.1.type",
    ],
    # No chunk has a finish reason; pieces of Base64 are joined as if they were text.
    "openai_audio": ["choices.0.finish_reason", "choices.0.message.audio.data"],
    # The content is empty where one answer has none.
    "openai_refusal": ["choices.0.message.content"],
    # Repeated texts are joined, and the first chunk counts.
    "openrouter_reasoning_details": [
        "choices.0.message.reasoning_details.0.format",
        "choices.0.message.role",
        "choices.0.native_finish_reason",
    ],
    # Each chunk tells the role.
    "xai_reasoning": ["choices.0.message.role"],
}

# A call's place in a stream, which no whole answer has, and which it keeps.
PLACE = re.compile(r"choices\.\d+\.message\.tool_calls\.\d+\.index")


def options(usage):
    return {"stream_options": {"include_usage": True}} if usage else {}


def plain(thing):
    """An SDK's object as an application sees it: what is absent is null."""
    return thing.model_dump(mode="json", warnings=False)


def chunks(client, name, form, usage):
    """Each chunk or event, as the SDK reads it: with what came, and nothing else."""
    model = f"{form}-{name}"
    if name == "openai_responses":
        stream = client.responses.create(model=model, input=PROMPT, stream=True)
    elif name == "openai_completions":
        stream = client.completions.create(model=model, prompt=PROMPT, stream=True, **options(usage))
    else:
        stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **options(usage))
    with stream:
        return [chunk.to_dict(mode="json") for chunk in stream]


def completion(pieces):
    """Legacy completions have no accumulator: what an application would make of their chunks."""
    choices = [choice for piece in pieces for choice in piece["choices"]]
    logprobs = [choice["logprobs"] for choice in choices]
    choice = {
        "index": 0,
        "text": "".join(choice["text"] for choice in choices),
        "finish_reason": choices[-1]["finish_reason"],
        "logprobs": {name: sum((part[name] for part in logprobs if part), []) for name in logprobs[0]},
    }
    return plain(Completion.model_validate({**pieces[-1], "choices": [choice]}))


def accumulated(client, name, form, usage):
    """What the SDK's helper tells as the stream comes, and what it has put together at its end."""
    model = f"{form}-{name}"
    told = []
    if name == "openai_completions":
        return told, completion(chunks(client, name, form, usage))
    if name == "openai_responses":
        with client.responses.stream(model=model, input=PROMPT) as stream:
            told.extend(plain(event) for event in stream)
            return told, plain(stream.get_final_response())
    try:
        with client.chat.completions.stream(model=model, messages=MESSAGES, **options(usage)) as stream:
            for event in stream:
                told.append(plain(event))
            return told, plain(stream.get_final_completion())
    except openai.APIError:
        raise
    except Exception as error:
        return told, f"{type(error).__name__}: {error}"


def whole(client, name, form):
    """The one answer, with what the SDK adds to each that it accumulates too."""
    model = f"{form}-{name}"
    if name == "openai_responses":
        return plain(client.responses.parse(model=model, input=PROMPT))
    if name == "openai_completions":
        return plain(client.completions.create(model=model, prompt=PROMPT))
    return plain(client.chat.completions.parse(model=model, messages=MESSAGES))


def differences(left, right, place=""):
    """The places where two objects differ; what is absent is null."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            yield from differences(left.get(name), right.get(name), f"{place}.{name}".lstrip("."))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right)):
            yield from differences(one, other, f"{place}.{index}")
    elif left != right and not PLACE.fullmatch(place):
        yield place


for name in sys.argv[1:]:
    answer = whole(provider, name, "same")
    tells_always = name == "openai_responses"
    for usage in True, False:
        # Through the gateway a stream is the same.
        assert chunks(gateway, name, "same", usage) == chunks(provider, name, "same", usage), (name, usage)
        told, direct = accumulated(provider, name, "same", usage)
        assert accumulated(gateway, name, "same", usage) == (told, direct), (name, usage)
        assert told or name == "openai_completions", name
        made = accumulated(gateway, name, "never", usage)[1]
        if name in FAILS:
            assert direct == made == FAILS[name], (name, direct, made)
            continue
        assert (direct["usage"] is not None) == (usage or tells_always), (name, direct)

        # The stream that it makes of an answer is that answer, but for a usage that nobody wants.
        wrong = [] if usage or tells_always else ["usage"]
        assert list(differences(answer, made)) == wrong, (name, usage, answer, made)
        assert (made["usage"] is not None) == (usage or tells_always), (name, made)
        if not usage:
            continue

        # The answer that it makes of a stream is what the SDK makes of it.
        gathered = whole(gateway, name, "always")
        assert list(differences(gathered, direct)) == WRONG.get(name, []), (name, gathered, direct)

print("all good")

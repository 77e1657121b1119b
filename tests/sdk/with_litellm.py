"""LiteLLM's client, straight at the provider and through Tollgate: an application sees the same."""

import asyncio
import os

# It would ask for a list of prices otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai

PROMPT = os.environ["PROMPT"]
MESSAGES = [{"role": "user", "content": PROMPT}]
GATEWAY = os.environ["OPENAI_BASE_URL"]
PROVIDER = os.environ["PROVIDER_URL"]
ANSWERS = ("same-openai_chat", "same-deepseek_reasoner", "same-openai_refusal", "same-azure_chat")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("get_weather", "now")
]

litellm.telemetry = False
litellm.suppress_debug_info = True

# What it makes up itself, in each run anew.
OWN = {"created", "created_at", "completed_at", "_hidden_params", "_response_headers", "_response_ms"}


def plain(thing):
    """An object as an application sees it, but for what it makes up."""
    if isinstance(thing, dict):
        return {name: plain(value) for name, value in thing.items() if name not in OWN}
    if isinstance(thing, (list, tuple)):
        return [plain(item) for item in thing]
    return plain(thing.model_dump()) if hasattr(thing, "model_dump") else thing


def options(base, name):
    return {"model": f"openai/{name}", "api_base": base, "max_retries": 0, "num_retries": 0, "timeout": 20}


def whole(base, name, **more):
    return plain(litellm.completion(**options(base, name), messages=MESSAGES, **more))


def streamed(base, name, **more):
    """Each chunk, and what LiteLLM puts together of them."""
    stream = litellm.completion(**options(base, name), messages=MESSAGES, stream=True, **more)
    chunks = list(stream)
    return [plain(chunk) for chunk in chunks], plain(litellm.stream_chunk_builder(chunks, messages=MESSAGES))


async def streamed_later(base):
    """The same without waiting, all at once."""

    async def one(name):
        stream = await litellm.acompletion(**options(base, name), messages=MESSAGES, stream=True)
        return [plain(chunk) async for chunk in stream]

    return await asyncio.gather(*map(one, ANSWERS))


def with_tools(base, name):
    """Calls, whole and streamed, then a turn with their results."""
    message = litellm.completion(**options(base, name), messages=MESSAGES, tools=TOOLS).choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    after = litellm.completion(
        **options(base, "same-openai_chat"), messages=[*MESSAGES, message.model_dump(), *results], tools=TOOLS
    )
    return plain(message), streamed(base, name, tools=TOOLS), plain(after)


def fails(call):
    try:
        call()
    except openai.APIError as error:
        return type(error).__name__, error.status_code, error.code, error.message
    raise AssertionError("an error was expected")


def everything(base):
    """What an application sees, of everything that it does."""
    seen = {}
    for name in ANSWERS:
        seen[name] = whole(base, name)
        seen[f"{name}, streamed"] = streamed(base, name)
        seen[f"{name}, with its usage"] = streamed(base, name, stream_options={"include_usage": True})
    for name in ("same-openai_tools", "same-mistral_tools"):
        seen[name] = with_tools(base, name)
    responses = options(base, "same-openai_responses")
    seen["responses"] = plain(litellm.responses(**responses, input=PROMPT))
    seen["responses, streamed"] = [plain(event) for event in litellm.responses(**responses, input=PROMPT, stream=True)]
    vectors = litellm.embedding(**options(base, "same-vectors"), input=[PROMPT], encoding_format="float")
    seen["vectors"] = plain(vectors)
    for name in ("same-bad", "same-broken", "same-rate-limited"):
        seen[name] = fails(lambda: whole(base, name))
        seen[f"{name}, streamed"] = fails(lambda: streamed(base, name))
    return seen


direct, through = everything(PROVIDER), everything(GATEWAY)
assert direct.keys() == through.keys()
for what, expected in direct.items():
    assert through[what] == expected, f"{what}:\n{through[what]}\nin place of\n{expected}"
calls = direct["same-openai_tools"][0]["tool_calls"]
assert [call["function"]["name"] for call in calls] == ["get_weather", "get_weather", "now"], calls
assert [direct[name][:2] for name in ("same-bad", "same-broken", "same-rate-limited")] == [
    ("BadRequestError", 400),
    ("InternalServerError", 500),
    ("RateLimitError", 429),
], direct


async def both():
    return await streamed_later(PROVIDER), await streamed_later(GATEWAY)


# Its connections belong to one event loop.
direct_later, through_later = asyncio.run(both())
assert all(direct_later) and through_later == direct_later, (through_later, direct_later)

# What only the gateway says.
assert fails(lambda: whole(GATEWAY, "unheard-of"))[:2] == ("NotFoundError", 404)
assert fails(lambda: whole(GATEWAY, "same-openai_chat", api_key="wrong"))[:2] == ("AuthenticationError", 401)

# A stream that breaks is an error on both ways, not a short answer.
for base in (PROVIDER, GATEWAY):
    assert fails(lambda: streamed(base, "same-cut")), base

print("all good")

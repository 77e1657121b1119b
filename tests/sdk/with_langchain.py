"""LangChain's chat models, straight at the provider and through Tollgate: an application sees the same."""

import asyncio
import os
import re

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

PROMPT = os.environ["PROMPT"]
GATEWAY = os.environ["OPENAI_BASE_URL"]
PROVIDER = os.environ["PROVIDER_URL"]
ANSWERS = ("same-openai_chat", "same-deepseek_reasoner", "same-openai_refusal", "same-groq_chat")

# What LangChain numbers anew in each run.
RUN = re.compile(r"lc_[a-z-]*run-?-[0-9a-f-]{36}(-\d+)?|run-{1,2}[0-9a-f-]{36}(-\d+)?|lc_[0-9a-f-]{36}")


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@tool
def now() -> str:
    """The time."""
    return "noon"


def plain(message):
    """A message as an application sees it, but for the numbers of the run."""
    return RUN.sub("run", repr(message.model_dump(mode="json")))


def model(base, name, **more):
    return ChatOpenAI(model=name, base_url=base, max_retries=0, timeout=20, **more)


def whole(base, name, **more):
    return plain(model(base, name, **more).invoke(PROMPT))


def streamed(base, name, **more):
    """Each chunk, and what LangChain adds them up to."""
    pieces = list(model(base, name, **more).stream(PROMPT))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    return [plain(piece) for piece in pieces], plain(total)


async def streamed_later(base):
    """The same without waiting, all at once."""

    async def one(name):
        return [plain(piece) async for piece in model(base, name).astream(PROMPT)]

    return await asyncio.gather(*map(one, ANSWERS))


def with_tools(base, name, **more):
    """Calls as they stream, then a turn with their results."""
    bound = model(base, name, **more).bind_tools([get_weather, now])
    total = None
    for piece in bound.stream(PROMPT):
        total = piece if total is None else total + piece
    calls = bound.invoke(PROMPT).tool_calls
    assert [(c["name"], c["args"]) for c in calls] == [(c["name"], c["args"]) for c in total.tool_calls]
    results = [
        ToolMessage({"get_weather": get_weather, "now": now}[call["name"]].invoke(call["args"]), tool_call_id=call["id"])
        for call in calls
    ]
    after = model(base, "same-openai_chat").invoke([HumanMessage(PROMPT), total, *results])
    return calls, plain(total), plain(after)


def fails(call):
    try:
        call()
    except openai.APIStatusError as error:
        return type(error).__name__, error.status_code, error.code, error.param, error.body
    raise AssertionError("an error was expected")


def everything(base):
    """What an application sees, of everything that it does."""
    seen = {}
    for name in ANSWERS:
        seen[name] = whole(base, name), streamed(base, name)
        seen[f"{name}, with its usage"] = streamed(base, name, stream_usage=True)
    for name in ("same-openai_tools", "same-mistral_tools"):
        seen[name] = with_tools(base, name)
    seen["responses"] = whole(base, "same-openai_responses", use_responses_api=True)
    seen["responses, streamed"] = streamed(base, "same-openai_responses", use_responses_api=True)
    embeddings = OpenAIEmbeddings(model="same-vectors", base_url=base, check_embedding_ctx_length=False, max_retries=0)
    seen["vectors"] = embeddings.embed_documents([PROMPT])
    for name in ("same-bad", "same-broken", "same-rate-limited"):
        seen[name] = fails(lambda: model(base, name).invoke(PROMPT))
        seen[f"{name}, streamed"] = fails(lambda: list(model(base, name).stream(PROMPT)))
    return seen


direct, through = everything(PROVIDER), everything(GATEWAY)
assert direct.keys() == through.keys()
for what, expected in direct.items():
    assert through[what] == expected, f"{what}:\n{through[what]}\nin place of\n{expected}"
assert "Oslo" in repr(direct["same-openai_tools"]) and len(direct["same-openai_tools"][0]) == 3, direct
assert [direct[name][1] for name in ("same-bad", "same-broken", "same-rate-limited")] == [400, 500, 429], direct


async def both():
    return await streamed_later(PROVIDER), await streamed_later(GATEWAY)


# Its connections belong to one event loop.
direct_later, through_later = asyncio.run(both())
assert all(direct_later) and through_later == direct_later, (through_later, direct_later)

# What only the gateway says.
assert fails(lambda: model(GATEWAY, "unheard-of").invoke(PROMPT))[1:3] == (404, "model_not_found")
wrong = model(GATEWAY, "same-openai_chat", api_key="wrong")
assert fails(lambda: wrong.invoke(PROMPT))[1:3] == (401, "invalid_api_key")

# A stream that breaks is an error on both ways, not a short answer.
for base in (PROVIDER, GATEWAY):
    pieces = []
    try:
        pieces.extend(model(base, "same-cut").stream(PROMPT))
    except Exception as error:
        assert not isinstance(error, AssertionError), error
    else:
        raise AssertionError(f"{base}: {pieces}")

print("all good")

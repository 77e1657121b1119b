"""Asks with requests that http-message-signatures has signed, by OpenAI's client and by httpx."""

import os
import secrets

import httpx
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms
from openai import AuthenticationError, OpenAI

secret = os.environ["SECRET"].encode()


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return secret


class Signature(httpx.Auth):
    requires_request_body = True

    def __init__(self, key_id):
        self.key_id = key_id
        self.signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())

    def auth_flow(self, request):
        self.signer.sign(
            request,
            key_id=self.key_id,
            covered_component_ids=("@method", "@path", "@query"),
            nonce=secrets.token_urlsafe(16),
            body=request.content,
        )
        yield request


def client(key_id):
    return OpenAI(http_client=httpx.Client(auth=Signature(key_id)), max_retries=0)


ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Grüße"}]}
batch = client("k1")
assert batch.chat.completions.create(**ask).id == "file-1"
stream = batch.chat.completions.create(**ask, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Hello"
assert batch.models.list()
speech = batch.audio.transcriptions.create(model="gpt-4o", file=("a.wav", b"sound " * 400_000))
assert speech
home = client("k2")
assert home.files.create(file=("a.jsonl", b"{}\n" * 100_000), purpose="batch").id == "file-1"
assert home.files.list(limit=3) is not None
try:
    OpenAI(max_retries=0).chat.completions.create(**ask)
    raise SystemExit("an unsigned request was served")
except AuthenticationError:
    pass
print("all good")

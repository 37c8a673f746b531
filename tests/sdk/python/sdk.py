"""The official Python SDKs as the other side of Hookgate's tests.

Nothing here knows how a provider signs: every check and every signature is the
SDK's own. What the SDKs leave to their caller (which header holds what, HTTP
itself) is all that is written out.

    python sdk.py backend         HTTP server that verifies POST /{provider}; its verdicts say
                                  how many requests it has `seen`
    python sdk.py sign PROVIDER   one JSON document in, one out
    python sdk.py sign-many       JSON lines in, JSON lines out, in order
    python sdk.py verify-many     JSON lines in, JSON lines out, in order

`sdk.mjs` beside this folder speaks the same protocol for the Node SDKs.
"""

import argparse
import base64
import contextlib
import itertools
import json
import os
import sys
import threading
import time
import uuid
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from unittest import mock

import slack_sdk.signature
import standardwebhooks.webhooks
import stripe
import svix.webhooks


class Refused(Exception):
    """An SDK that answers False, rather than raising, did so."""


class Stripe:
    package = "stripe"

    @staticmethod
    def sign(request):
        header = stripe.WebhookSignature.generate_signature_header(
            request.text(), request.secret, request.now
        )
        return [["Stripe-Signature", header]]

    @staticmethod
    def verify(secret, headers, body):
        event = stripe.Webhook.construct_event(
            body, headers.get("stripe-signature"), secret
        )
        return getattr(event, "id", None)


class Slack:
    package = "slack_sdk"

    @staticmethod
    def sign(request):
        timestamp = str(request.now)
        verifier = slack_sdk.signature.SignatureVerifier(request.secret)
        signature = verifier.generate_signature(
            timestamp=timestamp, body=request.text()
        )
        return [
            ["X-Slack-Request-Timestamp", timestamp],
            ["X-Slack-Signature", signature],
        ]

    @staticmethod
    def verify(secret, headers, body):
        verifier = slack_sdk.signature.SignatureVerifier(secret)
        if not verifier.is_valid_request(body, headers):
            raise Refused("SignatureVerifier.is_valid_request answered False")
        # The SDK reads no event: slash commands and interactions are forms, without an id.
        try:
            return json.loads(body).get("event_id")
        except (ValueError, AttributeError):
            return None


class StandardWebhooks:
    package = "standardwebhooks"
    prefix = "webhook"
    webhook = standardwebhooks.webhooks.Webhook

    @classmethod
    def sign(cls, request):
        # The SDK reads any datetime as UTC, whatever its zone.
        moment = datetime.fromtimestamp(request.now, tz=timezone.utc)
        message_id = request.id or f"msg_{uuid.uuid4().hex}"
        signature = cls.webhook(request.secret).sign(
            message_id, moment, request.text()
        )
        return [
            [f"{cls.prefix}-id", message_id],
            [f"{cls.prefix}-timestamp", str(request.now)],
            [f"{cls.prefix}-signature", signature],
        ]

    @classmethod
    def verify(cls, secret, headers, body):
        cls.check(cls.webhook(secret), body, headers)
        return headers.get(f"{cls.prefix}-id") or headers.get("webhook-id")

    @staticmethod
    def check(webhook, body, headers):
        # The signature is what is asked about, so a body need not be JSON.
        webhook.verify(body, headers, json_parse=False)


class Svix(StandardWebhooks):
    package = "svix"
    prefix = "svix"
    webhook = svix.webhooks.Webhook

    @staticmethod
    def check(webhook, body, headers):
        webhook.verify(body, headers)


SDKS = {
    "slack": Slack,
    "standardwebhooks": StandardWebhooks,
    "stripe": Stripe,
    "svix": Svix,
}


class SignRequest:
    def __init__(self, document):
        self.secret = document["secret"]
        self.body = base64.b64decode(document["body_base64"], validate=True)
        now = document.get("now")
        self.now = int(time.time() if now is None else now)
        self.id = document.get("id")

    def text(self):
        """The body as the SDKs' signers want it; they sign text only."""
        return self.body.decode("utf-8")


def find_sdk(provider):
    if provider not in SDKS:
        raise ValueError(f"no SDK here for {provider!r}; known: {', '.join(SDKS)}")
    return SDKS[provider]


def sign(provider, document):
    return {"headers": find_sdk(provider).sign(SignRequest(document))}


def verify(provider, secret, headers, body, now=None):
    """Asks the SDK; whatever it raises is its refusal."""
    try:
        sdk = find_sdk(provider)
        with clock_at(now):
            event_id = sdk.verify(secret, fold(headers), body)
    except Exception as error:
        return {"verified": False, "error": f"{type(error).__name__}: {error}"}
    version = metadata.version(sdk.package)
    return {"verified": True, "sdk": f"{sdk.package} {version}", "id": event_id}


def fold(headers):
    """Lower-cased names; a repeated name as one list, as RFC 9110 5.2 combines it."""
    folded = {}
    for name, value in headers:
        name = name.lower()
        folded[name] = f"{folded[name]}, {value}" if name in folded else value
    return folded


@contextlib.contextmanager
def clock_at(now):
    """Shows the SDKs another time, for recorded vectors. Not for use among threads."""
    if now is None:
        yield
        return

    class Frozen(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(now, tz)

    with mock.patch("time.time", lambda: now), mock.patch(
        "slack_sdk.signature.time", lambda: now
    ), mock.patch("standardwebhooks.webhooks.datetime", Frozen):
        yield


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen = itertools.count(1)

    def do_POST(self):
        seen = next(self.seen)
        try:
            body = self.read_body()
        except ValueError as error:
            self.close_connection = True
            self.answer(400, {"verified": False, "error": f"bad request body: {error}"})
            return
        provider = self.path.split("?")[0].split("/")[1]
        secret = os.environ.get(f"SDK_SECRET_{provider.upper()}")
        if provider not in SDKS:
            self.answer(404, {"verified": False, "error": f"no SDK here for {provider!r}"})
        elif secret is None:
            error = f"SDK_SECRET_{provider.upper()} is not set"
            self.answer(500, {"verified": False, "error": error})
        else:
            verdict = verify(provider, secret, self.headers.items(), body)
            verdict["seen"] = seen
            self.answer(200 if verdict["verified"] else 400, verdict)

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.read_chunks()
        size = int(self.headers.get("Content-Length", 0))
        return self.read_exactly(size)

    def read_chunks(self):
        body = bytearray()
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            body += self.read_exactly(size)
            if self.rfile.readline(1024) != b"\r\n":
                raise ValueError("chunk without its end of line")
        while self.rfile.readline(65536) not in (b"\r\n", b""):
            pass  # Trailers are read past; no SDK looks at them.
        return bytes(body)

    def read_exactly(self, size):
        data = self.rfile.read(size)
        if len(data) != size:
            raise ValueError(f"{len(data)} of {size} bytes arrived")
        return data

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def backend():
    server = Server(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    emit({"port": server.server_port})
    # A test that dies closes the pipe, and so takes its backend along.
    while sys.stdin.buffer.read1(65536):
        pass


def each_line(work):
    for line in sys.stdin.buffer:
        if line.strip():
            emit(work(line))


def sign_line(line):
    try:
        document = json.loads(line)
        return sign(document["provider"], document)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def verify_line(line):
    try:
        document = json.loads(line)
        body = base64.b64decode(document["body_base64"], validate=True)
        provider, secret = document["provider"], document["secret"]
        headers, now = document["headers"], document.get("now")
    except Exception as error:
        return {"verified": False, "error": f"bad line: {type(error).__name__}: {error}"}
    return verify(provider, secret, headers, body, now)


def emit(document):
    print(json.dumps(document), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backend")
    commands.add_parser("sign").add_argument("provider", choices=SDKS)
    commands.add_parser("sign-many")
    commands.add_parser("verify-many")
    args = parser.parse_args()
    if args.command == "backend":
        backend()
    elif args.command == "sign":
        emit(sign(args.provider, json.load(sys.stdin)))
    elif args.command == "sign-many":
        each_line(sign_line)
    else:
        each_line(verify_line)


if __name__ == "__main__":
    main()

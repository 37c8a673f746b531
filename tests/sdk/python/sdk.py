"""The official Python SDKs as the other side of Hookgate's tests.

Nothing here knows how a provider signs: every check and every signature is the
SDK's own. What the SDKs leave to their caller (which header holds what, HTTP
itself) is all that is written out.

    python sdk.py backend         HTTP server that verifies POST /{provider}; its verdicts say
                                  how many requests it has `seen`
    python sdk.py sign PROVIDER   one JSON document in, one out
    python sdk.py sign-many       JSON lines in, JSON lines out, in order
    python sdk.py verify-many     JSON lines in, JSON lines out, in order
    python sdk.py list-many       JSON lines in ({provider, url, key}), the ids of all events out

`sign` and `sign-many` answer the `headers` to send, and the `url` where one was asked about. Where
the signature stands in the body they add `body_base64`, the body to send in place of the one that
was asked about; where something in the query is signed that was not there, `query`, which is to be
appended to the URL.

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
from urllib.parse import parse_qsl, urlsplit

import discord_interactions
import linebot.v3.webhook
import nacl.signing
import paddle_billing.Notifications
import sendgrid.helpers.eventwebhook
import slack_sdk.signature
import square.utils.webhooks_helper
import standardwebhooks.webhooks
import stripe
import svix.webhooks
import twilio.request_validator
import werkzeug.datastructures
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from asking import Refused, clock_at, expected_by
from more_verifiers import MORE_VERIFIERS
from verifiers import VERIFIERS


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


# What follows signs more than the body, or with a private key. A `url` comes with the question
# (backend: SDK_URL_{PROVIDER}, and the query of the request); a signer of JSON gives it back with
# the query that it added. The `secret` of a signer is a PKCS#8 private key in PEM where the secret
# of a verifier is a public key.


class Twilio:
    """A form; `algorithm` is named in a header when a shared key signs."""

    package = "twilio"

    @classmethod
    def sign(cls, request):
        validator = twilio.request_validator.RequestValidator(request.secret)
        signature = validator.compute_signature(request.url, cls.form(request.text()))
        return [
            ["Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"],
            ["X-Twilio-Signature", signature],
        ]

    @classmethod
    def verify(cls, secret, headers, body, url):
        is_form = "form" in headers.get("content-type", "")
        params = cls.form(body.decode()) if is_form else body.decode()
        settings = headers.get("x-twilio-webhooks-signature-settings")
        algorithm = twilio.request_validator.get_signature_algorithm(settings)
        validator = twilio.request_validator.RequestValidator(secret)
        signature = headers.get("x-twilio-signature", "")
        if not validator.validate(url, params, signature, algorithm):
            raise Refused("RequestValidator.validate answered False")
        return params.get("MessageSid") if is_form else None

    @staticmethod
    def form(text):
        return werkzeug.datastructures.MultiDict(parse_qsl(text, keep_blank_values=True))


class TwilioSha256(Twilio):
    """A form signed with a shared key."""

    @classmethod
    def sign(cls, request):
        algorithm = twilio.request_validator.HMAC_SHA256
        validator = twilio.request_validator.RequestValidator(request.secret)
        signature = validator.compute_signature(
            request.url, cls.form(request.text()), algorithm
        )
        settings = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
        return [
            ["Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"],
            ["X-Twilio-Webhooks-Signature-Settings", settings],
            ["X-Twilio-Signature", signature],
        ]


class TwilioJson(Twilio):
    """JSON: the URL is signed, with the hash of the body in it."""

    @staticmethod
    def sign(request):
        validator = twilio.request_validator.RequestValidator(request.secret)
        separator = "&" if "?" in request.url else "?"
        request.url += f"{separator}bodySHA256={validator.compute_hash(request.text())}"
        return [
            ["Content-Type", "application/json"],
            ["X-Twilio-Signature", validator.compute_signature(request.url, {})],
        ]


class Sendgrid:
    package = "sendgrid"

    @staticmethod
    def sign(request):
        key = serialization.load_pem_private_key(request.secret.encode(), None)
        timestamp = str(request.now)
        signature = key.sign(timestamp.encode() + request.body, ec.ECDSA(hashes.SHA256()))
        return [
            ["X-Twilio-Email-Event-Webhook-Signature", base64.b64encode(signature).decode()],
            ["X-Twilio-Email-Event-Webhook-Timestamp", timestamp],
        ]

    @staticmethod
    def verify(secret, headers, body):
        genuine = sendgrid.helpers.eventwebhook.EventWebhook(secret).verify_signature(
            body.decode(),
            headers["x-twilio-email-event-webhook-signature"],
            headers["x-twilio-email-event-webhook-timestamp"],
        )
        if not genuine:
            raise Refused("EventWebhook.verify_signature answered False")


class Square:
    package = "squareup"

    @classmethod
    def sign(cls, request):
        signature = expected_by(
            lambda placeholder: cls.ask(
                request.secret, placeholder, request.text(), request.url
            )
        )
        return [["x-square-hmacsha256-signature", signature]]

    @classmethod
    def verify(cls, secret, headers, body, url):
        signature = headers.get("x-square-hmacsha256-signature", "")
        if not cls.ask(secret, signature, body.decode(), url):
            raise Refused("verify_signature answered False")
        return json.loads(body).get("event_id")

    @staticmethod
    def ask(secret, signature, body, url):
        return square.utils.webhooks_helper.verify_signature(
            request_body=body,
            signature_header=signature,
            signature_key=secret,
            notification_url=url,
        )


class Line:
    package = "line-bot-sdk"

    @staticmethod
    def sign(request):
        validator = linebot.v3.webhook.SignatureValidator(request.secret)
        validate = lambda placeholder: validator.validate(request.text(), placeholder)
        return [["X-Line-Signature", expected_by(validate)]]

    @staticmethod
    def verify(secret, headers, body):
        parser = linebot.v3.webhook.WebhookParser(secret)
        if not parser.signature_validator.validate(
            body.decode(), headers.get("x-line-signature", "")
        ):
            raise Refused("SignatureValidator.validate answered False")


class Discord:
    package = "discord-interactions"

    @staticmethod
    def sign(request):
        key = serialization.load_pem_private_key(request.secret.encode(), None)
        timestamp = str(request.now)
        signed = nacl.signing.SigningKey(key.private_bytes_raw()).sign(
            timestamp.encode() + request.body
        )
        return [
            ["X-Signature-Ed25519", signed.signature.hex()],
            ["X-Signature-Timestamp", timestamp],
        ]

    @staticmethod
    def verify(secret, headers, body):
        # The SDK prints why, where our answers go.
        with contextlib.redirect_stdout(sys.stderr):
            genuine = discord_interactions.verify_key(
                body,
                headers["x-signature-ed25519"],
                headers["x-signature-timestamp"],
                secret,
            )
        if not genuine:
            raise Refused("verify_key answered False")
        return json.loads(body).get("id")


class Paddle:
    package = "paddle-python-sdk"

    class Request:
        def __init__(self, signature, body):
            self.headers = {"Paddle-Signature": signature}
            self.body = body

    @classmethod
    def sign(cls, request):
        signed = f"ts={request.now};h1="
        signature = expected_by(
            lambda placeholder: cls.ask(
                request.secret, signed + placeholder, request.body, drift=False
            )
        )
        return [["Paddle-Signature", signed + signature]]

    @classmethod
    def verify(cls, secret, headers, body):
        if not cls.ask(secret, headers.get("paddle-signature"), body, drift=True):
            raise Refused("Verifier.verify answered False")
        return json.loads(body).get("event_id")

    @classmethod
    def ask(cls, secret, signature, body, drift):
        secret = paddle_billing.Notifications.Secret(secret)
        return paddle_billing.Notifications.Verifier().verify(
            cls.Request(signature, body), secret, drift
        )


SDKS = {
    "discord": Discord,
    "line": Line,
    "paddle": Paddle,
    "sendgrid": Sendgrid,
    "slack": Slack,
    "square": Square,
    "standardwebhooks": StandardWebhooks,
    "stripe": Stripe,
    "svix": Svix,
    "twilio": Twilio,
    "twilio_json": TwilioJson,
    "twilio_sha256": TwilioSha256,
    **VERIFIERS,
    **MORE_VERIFIERS,
}

SIGN_THE_URL = (
    "hubspot",
    "mercadopago",
    "messagebird",
    "plivo",
    "plivo_v2",
    "square",
    "twilio",
    "twilio_json",
    "twilio_sha256",
)


class SignRequest:
    def __init__(self, document):
        self.secret = document["secret"]
        self.body = base64.b64decode(document["body_base64"], validate=True)
        now = document.get("now")
        self.now = int(time.time() if now is None else now)
        self.id = document.get("id")
        self.url = document.get("url")
        self.query = None

    def text(self):
        """The body as the SDKs' signers want it; they sign text only."""
        return self.body.decode("utf-8")


def find_sdk(provider):
    if provider not in SDKS:
        raise ValueError(f"no SDK here for {provider!r}; known: {', '.join(SDKS)}")
    return SDKS[provider]


def sign(provider, document):
    request = SignRequest(document)
    asked = request.body
    signed = {"headers": find_sdk(provider).sign(request)}
    if request.url is not None:
        signed["url"] = request.url
    if request.body != asked:
        signed["body_base64"] = base64.b64encode(request.body).decode()
    if request.query is not None:
        signed["query"] = request.query
    return signed


def verify(provider, secret, headers, body, now=None, url=None):
    """Asks the SDK; whatever it raises is its refusal."""
    try:
        sdk = find_sdk(provider)
        with clock_at(now):
            more = {"url": url} if provider in SIGN_THE_URL else {}
            event_id = sdk.verify(secret, fold(headers), body, **more)
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
            url = os.environ.get(f"SDK_URL_{provider.upper()}")
            query = urlsplit(self.path).query
            url = f"{url}?{query}" if url and query else url
            verdict = verify(provider, secret, self.headers.items(), body, url=url)
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
    return verify(provider, secret, headers, body, now, document.get("url"))


def list_line(line):
    """Pages through everything with the SDK's own iterator."""
    document = json.loads(line)
    client = stripe.StripeClient(document["key"], base_addresses={"api": document["url"]})
    events = client.v1.events.list({"limit": 3})
    return {"ids": [event.id for event in events.auto_paging_iter()]}


def emit(document):
    print(json.dumps(document), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("backend")
    commands.add_parser("sign").add_argument("provider", choices=SDKS)
    commands.add_parser("sign-many")
    commands.add_parser("verify-many")
    commands.add_parser("list-many")
    args = parser.parse_args()
    if args.command == "backend":
        backend()
    elif args.command == "sign":
        emit(sign(args.provider, json.load(sys.stdin)))
    elif args.command == "sign-many":
        each_line(sign_line)
    elif args.command == "list-many":
        each_line(list_line)
    else:
        each_line(verify_line)


if __name__ == "__main__":
    main()

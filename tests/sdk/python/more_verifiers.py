"""More SDKs that verify; some of their signatures stand in the body, or sign what is in the query.

A signer of those changes the `body` of what it was asked to sign, or sets its `query`. The body it is
asked about has to be of the provider's form then: `notificationItems` for Adyen, an `event` for
Dropbox Sign, an object for Mailgun, XML for Braintree.
"""

import base64
import contextlib
import hashlib
import io
import json
import time
from datetime import datetime, timezone
from types import SimpleNamespace
from unittest import mock
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from asking import Refused, clock_at, expected_by
from verifiers import Body

FORM = ["Content-Type", "application/x-www-form-urlencoded"]


class Unequal(str):
    """Equal to nothing, and remembers what it was compared with."""

    def __eq__(self, other):
        self.compared = other
        return False

    def __ne__(self, other):
        return not self == other

    def encode(self, *_):
        return UnequalBytes(self)


class UnequalBytes(bytes):
    """The same in bytes; a copy is the thing itself, so that it is asked and not the copy."""

    def __new__(cls, text):
        self = super().__new__(cls, bytes(str(text), "utf-8"))
        self.text = text
        return self

    def __eq__(self, other):
        return self.text == other

    def __bytes__(self):
        return self


class Clock(datetime):
    """PyJWT reads the time past `time.time`, and so past `clock_at`."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)


def jwt_clock():
    return mock.patch("jwt.api_jwt.datetime", Clock)


class StandardHeaders:
    """The headers of Standard Webhooks; most SDKs compare what was signed before it is base64."""

    @classmethod
    def sign(cls, request):
        headers = {
            "webhook-id": request.id or "msg_1",
            "webhook-timestamp": str(request.now),
        }

        def ask(placeholder):
            signature = {"webhook-signature": f"v1,{placeholder}"}
            cls.verify(request.secret, {**headers, **signature}, request.body)

        with clock_at(request.now):
            signature = cls.expected(ask)
        return [*map(list, headers.items()), ["webhook-signature", f"v1,{signature}"]]

    @staticmethod
    def expected(ask):
        compared = []
        with mock.patch(
            "hmac.compare_digest", lambda ours, theirs: compared.append(ours)
        ), contextlib.suppress(Exception):
            ask("AAAA")
        # An SDK that reads a secret in two ways compares twice.
        return base64.b64encode(compared[0]).decode()


class OpenAi(StandardHeaders):
    package = "openai"

    @staticmethod
    def verify(secret, headers, body):
        import openai

        client = openai.OpenAI(api_key="key")
        client.webhooks.verify_signature(body, headers, secret=secret)
        return headers["webhook-id"]

    expected = staticmethod(expected_by)


class Anthropic(StandardHeaders):
    package = "anthropic"

    @staticmethod
    def verify(secret, headers, body):
        import anthropic

        webhooks = anthropic.Anthropic(api_key="key").beta.webhooks
        return webhooks.unwrap(body.decode(), headers=headers, key=secret).id


class Increase(StandardHeaders):
    """Signed with the whole secret as it is written, which the SDK takes as bytes."""

    package = "increase"

    @staticmethod
    def verify(secret, headers, body):
        import increase

        events = increase.Increase(api_key="key").events
        return events.unwrap(body.decode(), headers=headers, key=secret.encode()).id


class Polar(StandardHeaders):
    """Signed with the whole secret as it is written; the SDK tries its base64 as well."""

    package = "polar-sdk"

    @staticmethod
    def verify(secret, headers, body):
        from polar import webhooks

        # An unknown type is found after the signature, and the types are of one version of the API.
        with contextlib.suppress(webhooks.PolarWebhookUnknownTypeError):
            webhooks.validate_event(body, headers, secret, frozenset(), dict)
        return headers["webhook-id"]


class Box:
    """With the primary key; a `secret` verifies as either."""

    package = "boxsdk"

    @staticmethod
    def sign(request):
        from box_sdk_gen.internal.utils import compute_webhook_signature

        moment = datetime.fromtimestamp(request.now, tz=timezone.utc)
        headers = {
            "box-signature-version": "1",
            "box-signature-algorithm": "HmacSHA256",
            "box-delivery-timestamp": moment.isoformat(),
        }
        signature = compute_webhook_signature(request.text(), headers, request.secret)
        return [*map(list, headers.items()), ["box-signature-primary", signature]]

    @staticmethod
    def verify(secret, headers, body):
        from box_sdk_gen.managers.webhooks import WebhooksManager

        if not WebhooksManager.validate_message(
            body.decode(), headers, secret, secondary_key=secret
        ):
            raise Refused("WebhooksManager.validate_message answered False")
        return json.loads(body).get("id")


class EasyPost(Body):
    package = "easypost"
    header = "X-Hmac-Signature"

    @staticmethod
    def ask(secret, signature, text):
        import easypost.util

        headers = {"X-Hmac-Signature": signature}
        easypost.util.validate_webhook(text.encode(), headers, secret)


class ElevenLabs:
    package = "elevenlabs"

    class Header(str):
        """The list that the SDK reads its header as."""

        def split(self, _):
            return self.items

    @classmethod
    def sign(cls, request):
        placeholder = Unequal("v0=?")
        header = cls.Header("?")
        header.items = [f"t={request.now}", placeholder]
        with clock_at(request.now), contextlib.suppress(Exception):
            cls.ask(request.secret, header, request.text())
        return [["ElevenLabs-Signature", f"t={request.now},{placeholder.compared}"]]

    @classmethod
    def verify(cls, secret, headers, body):
        cls.ask(secret, headers.get("elevenlabs-signature"), body.decode())

    @staticmethod
    def ask(secret, signature, text):
        from elevenlabs.webhooks_custom import WebhooksClient

        client = WebhooksClient(client_wrapper=None)
        client.construct_event(text, signature, secret)


class ModernTreasury:
    package = "modern-treasury"

    @classmethod
    def sign(cls, request):
        signature = cls.webhooks().get_signature(request.text(), key=request.secret)
        return [["X-Signature", signature]]

    @classmethod
    def verify(cls, secret, headers, body):
        if not cls.webhooks().validate_signature(body.decode(), headers, key=secret):
            raise Refused("Webhooks.validate_signature answered False")

    @staticmethod
    def webhooks():
        import modern_treasury

        client = modern_treasury.ModernTreasury(api_key="key", organization_id="hookgate")
        return client.webhooks


class Retell:
    package = "retell-sdk"

    @staticmethod
    def sign(request):
        from retell.lib.webhook_auth import symmetric

        now = request.now * 1000
        signature = symmetric["sign"](request.text(), request.secret, now)
        return [["X-Retell-Signature", signature]]

    @staticmethod
    def verify(secret, headers, body):
        from retell.lib.webhook_auth import verify

        if not verify(body.decode(), secret, headers["x-retell-signature"]):
            raise Refused("verify answered False")


class Cloudinary:
    """A plain hash, by default of SHA-1, with the secret in it."""

    package = "cloudinary"
    algorithm = "sha1"

    @classmethod
    def sign(cls, request):
        placeholder = Unequal("?")
        timestamp = str(request.now)
        with clock_at(request.now):
            cls.ask(request.secret, placeholder, timestamp, request.text())
        return [["X-Cld-Timestamp", timestamp], ["X-Cld-Signature", placeholder.compared]]

    @classmethod
    def verify(cls, secret, headers, body):
        signature, timestamp = headers["x-cld-signature"], headers["x-cld-timestamp"]
        if not cls.ask(secret, signature, timestamp, body.decode()):
            raise Refused("verify_notification_signature answered False")

    @classmethod
    def ask(cls, secret, signature, timestamp, text):
        import cloudinary.utils

        cloudinary.config(api_secret=secret)
        return cloudinary.utils.verify_notification_signature(
            text, timestamp, signature, algorithm=cls.algorithm
        )


class CloudinarySha256(Cloudinary):
    """The same of SHA-256, which an account can choose."""

    algorithm = "sha256"


class Adyen:
    """Payments: every item of the body holds its own signature. Secrets are hexadecimal."""

    package = "Adyen"

    @staticmethod
    def sign(request):
        from Adyen.util import generate_notification_sig

        document = json.loads(request.body)
        for entry in document["notificationItems"]:
            item = entry["NotificationRequestItem"]
            signature = generate_notification_sig(item, request.secret).decode()
            item.setdefault("additionalData", {})["hmacSignature"] = signature
        request.body = json.dumps(document, ensure_ascii=False).encode()
        return []

    @staticmethod
    def verify(secret, headers, body):
        from Adyen.util import is_valid_hmac_notification

        document = json.loads(body)
        # The SDK looks at the first item only.
        for entry in document["notificationItems"]:
            if not is_valid_hmac_notification({"notificationItems": [entry]}, secret):
                raise Refused("is_valid_hmac_notification answered False")
        return document["notificationItems"][0]["NotificationRequestItem"].get("pspReference")


class AdyenPlatform:
    """Its other webhooks: the body, signed in a header. Secrets are hexadecimal."""

    package = "Adyen"

    @staticmethod
    def sign(request):
        from Adyen.util import generate_payload_sig

        signature = generate_payload_sig(request.body, request.secret).decode()
        return [["HmacSignature", signature]]

    @staticmethod
    def verify(secret, headers, body):
        from Adyen.util import is_valid_hmac_payload

        if not is_valid_hmac_payload(headers.get("hmacsignature", ""), secret, body):
            raise Refused("is_valid_hmac_payload answered False")


class Braintree:
    """A form, from a body of XML. Secrets are written `PUBLIC_KEY:PRIVATE_KEY`."""

    package = "braintree"

    @staticmethod
    def sign(request):
        from braintree.util.crypto import Crypto

        public_key, _, private_key = request.secret.partition(":")
        # As the SDK's own `webhook_testing.sample_notification` does it.
        payload = base64.encodebytes(request.body)
        signature = Crypto.sha1_hmac_hash(private_key, payload)
        form = {"bt_signature": f"{public_key}|{signature}", "bt_payload": payload}
        request.body = urlencode(form).encode()
        return [FORM]

    @staticmethod
    def verify(secret, headers, body):
        import braintree

        public_key, _, private_key = secret.partition(":")
        gateway = braintree.BraintreeGateway(
            braintree.Configuration(
                environment=braintree.Environment.Sandbox,
                merchant_id="hookgate",
                public_key=public_key,
                private_key=private_key,
            )
        )
        form = dict(parse_qsl(body.decode()))
        gateway.webhook_notification.parse(form.get("bt_signature"), form.get("bt_payload"))


class Mailgun:
    """A part of the JSON body signs itself, and nothing else of it."""

    package = "mailgun"

    @classmethod
    def sign(cls, request):
        token = hashlib.sha256((request.id or request.text()).encode()).hexdigest()[:50]
        parts = {"token": token, "timestamp": str(request.now)}
        with clock_at(request.now):
            signature = expected_by(lambda placeholder: cls.ask(request.secret, placeholder, parts))
        signed = {"signature": {**parts, "signature": signature}}
        document = {**json.loads(request.body), **signed}
        request.body = json.dumps(document, ensure_ascii=False).encode()
        return []

    @classmethod
    def verify(cls, secret, headers, body):
        document = json.loads(body)
        parts = document["signature"]
        if not cls.ask(secret, parts["signature"], parts):
            raise Refused("SecurityGuard.verify_webhook answered False")
        return document.get("event-data", {}).get("id")

    @staticmethod
    def ask(secret, signature, parts):
        from mailgun.security import SecurityGuard

        return SecurityGuard.verify_webhook(
            secret, parts["token"], parts["timestamp"], signature
        )


class MessageBird:
    """A JWT that holds the hashes of URL and body; the SDK only reads it, PyJWT writes it."""

    package = "messagebird"

    @staticmethod
    def sign(request):
        import jwt

        claims = {
            "iss": "MessageBird",
            "nbf": request.now,
            "exp": request.now + 60,
            "jti": request.id or "jti-1",
            "url_hash": hashlib.sha256(request.url.encode()).hexdigest(),
        }
        if request.body:
            claims["payload_hash"] = hashlib.sha256(request.body).hexdigest()
        return [["MessageBird-Signature-JWT", jwt.encode(claims, request.secret, "HS256")]]

    @staticmethod
    def verify(secret, headers, body, url):
        from messagebird.request_validator import RequestValidator

        token = headers.get("messagebird-signature-jwt")
        with jwt_clock():
            return RequestValidator(secret).validate_signature(token, url, body)["jti"]


class Vonage:
    """A JWT that holds the hash of the body, which the SDK leaves to its caller."""

    package = "vonage-jwt"

    @staticmethod
    def sign(request):
        import jwt

        claims = {
            "iat": request.now,
            "jti": request.id or "jti-1",
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(request.body).hexdigest(),
            "api_key": "a1b2c3d4",
        }
        token = jwt.encode(claims, request.secret, "HS256")
        return [["Authorization", f"Bearer {token}"]]

    @staticmethod
    def verify(secret, headers, body):
        import jwt
        from vonage_jwt import verify_signature

        token = headers.get("authorization", "").removeprefix("Bearer ")
        with jwt_clock():
            if not verify_signature(token, secret):
                raise Refused("verify_signature answered False")
        claims = jwt.decode(token, options={"verify_signature": False})
        if claims["payload_hash"] != hashlib.sha256(body).hexdigest():
            raise Refused("payload_hash is another")


class Plivo:
    """The third version: URL, form and a nonce."""

    package = "plivo"

    @classmethod
    def sign(cls, request):
        from plivo.utils.signature_v3 import construct_post_url, get_signature_v3

        nonce = request.id or "12345678901234567890"
        url = construct_post_url(request.url, cls.form(request.body)).decode()
        signature = get_signature_v3(request.secret, url, nonce).decode()
        return [
            FORM,
            ["X-Plivo-Signature-V3", signature],
            ["X-Plivo-Signature-V3-Nonce", nonce],
        ]

    @classmethod
    def verify(cls, secret, headers, body, url):
        from plivo.utils import validate_v3_signature

        signature = headers["x-plivo-signature-v3"]
        nonce = headers["x-plivo-signature-v3-nonce"]
        if not validate_v3_signature(
            "POST", url, nonce, secret, signature, cls.form(body)
        ):
            raise Refused("validate_v3_signature answered False")

    @staticmethod
    def form(body):
        return parse_qs(body.decode(), keep_blank_values=True)


class PlivoV2:
    """The second version: the URL without its query, and a nonce; the body is not signed."""

    package = "plivo"

    @classmethod
    def sign(cls, request):
        nonce = request.id or "12345678901234567890"
        placeholder = Unequal("?")
        cls.ask(request.secret, request.url, nonce, placeholder)
        return [
            FORM,
            ["X-Plivo-Signature-V2", placeholder.compared.decode()],
            ["X-Plivo-Signature-V2-Nonce", nonce],
        ]

    @classmethod
    def verify(cls, secret, headers, body, url):
        signature = headers["x-plivo-signature-v2"]
        if not cls.ask(secret, url, headers["x-plivo-signature-v2-nonce"], signature):
            raise Refused("validate_signature answered False")

    @staticmethod
    def ask(secret, url, nonce, signature):
        from plivo.utils import validate_signature

        return validate_signature(url, nonce, signature, secret)


class DropboxSign:
    """A multipart form, from a JSON body; time and type of the event are signed in it."""

    package = "dropbox-sign"
    boundary = "hookgate-boundary"

    @classmethod
    def sign(cls, request):
        from dropbox_sign import EventCallbackHelper

        document = json.loads(request.body)
        event = document["event"]
        event["event_time"] = str(request.now)
        asked = SimpleNamespace(**{**event, "event_hash": Unequal("?")})
        EventCallbackHelper.is_valid(request.secret, SimpleNamespace(event=asked))
        event["event_hash"] = asked.event_hash.compared
        request.body = (
            f'--{cls.boundary}\r\nContent-Disposition: form-data; name="json"\r\n\r\n'
            f"{json.dumps(document, ensure_ascii=False)}\r\n--{cls.boundary}--\r\n"
        ).encode()
        return [["Content-Type", f"multipart/form-data; boundary={cls.boundary}"]]

    @staticmethod
    def verify(secret, headers, body):
        from dropbox_sign import EventCallbackHelper, EventCallbackRequest
        from werkzeug.formparser import FormDataParser
        from werkzeug.http import parse_options_header

        media_type, options = parse_options_header(headers["content-type"])
        parts = FormDataParser().parse(io.BytesIO(body), media_type, len(body), options)
        callback = EventCallbackRequest.init(json.loads(parts[1]["json"]))
        if not EventCallbackHelper.is_valid(secret, callback):
            raise Refused("EventCallbackHelper.is_valid answered False")
        return callback.event.event_hash


class MercadoPago:
    """The query's `data.id`, which is the body's where there is none; the body is not signed."""

    package = "mercadopago"

    @classmethod
    def sign(cls, request):
        data_id = cls.data_id(request.url or "")
        if data_id is None:
            data_id = str(json.loads(request.body)["data"]["id"])
            request.query = urlencode({"data.id": data_id})
            if request.url is not None:
                request.url += f"{'&' if '?' in request.url else '?'}{request.query}"
        request_id = request.id or "request-1"
        signed = f"ts={request.now},v1="
        signature = expected_by(
            lambda placeholder: cls.ask(
                request.secret, signed + placeholder, request_id, data_id
            )
        )
        return [["x-signature", signed + signature], ["x-request-id", request_id]]

    @classmethod
    def verify(cls, secret, headers, body, url):
        signature = headers.get("x-signature")
        cls.ask(secret, signature, headers.get("x-request-id"), cls.data_id(url))
        return str(json.loads(body)["id"])

    @staticmethod
    def ask(secret, signature, request_id, data_id):
        from mercadopago.webhook import WebhookSignatureValidator

        WebhookSignatureValidator.validate(signature, request_id, data_id, secret)

    @staticmethod
    def data_id(url):
        return dict(parse_qsl(urlsplit(url).query)).get("data.id")


MORE_VERIFIERS = {
    "adyen": Adyen,
    "adyen_platform": AdyenPlatform,
    "anthropic": Anthropic,
    "box": Box,
    "braintree": Braintree,
    "cloudinary": Cloudinary,
    "cloudinary_sha256": CloudinarySha256,
    "dropbox_sign": DropboxSign,
    "easypost": EasyPost,
    "elevenlabs": ElevenLabs,
    "increase": Increase,
    "mailgun": Mailgun,
    "mercadopago": MercadoPago,
    "messagebird": MessageBird,
    "modern_treasury": ModernTreasury,
    "openai": OpenAi,
    "plivo": Plivo,
    "plivo_v2": PlivoV2,
    "polar": Polar,
    "retell": Retell,
    "vonage": Vonage,
}

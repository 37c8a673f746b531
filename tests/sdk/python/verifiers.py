"""SDKs that verify and cannot sign: what they would have signed is what they compare with.

Each is imported when it is asked first, since some take a second for that.
"""

import base64
import json

import nacl.signing
from cryptography.hazmat.primitives import serialization

from asking import Refused, clock_at, expected_by


class Body:
    """A signature of the body alone, in one header."""

    @classmethod
    def sign(cls, request):
        ask = lambda placeholder: cls.ask(request.secret, placeholder, request.text())
        return [[cls.header, expected_by(ask)]]

    @classmethod
    def verify(cls, secret, headers, body):
        cls.ask(secret, headers.get(cls.header.lower(), ""), body.decode())


class Razorpay(Body):
    package = "razorpay"
    header = "X-Razorpay-Signature"

    @staticmethod
    def ask(secret, signature, text):
        import razorpay

        client = razorpay.Client(auth=("key", "secret"))
        client.utility.verify_webhook_signature(text, signature, secret)


class Onfido(Body):
    package = "onfido-python"
    header = "X-SHA2-Signature"

    @staticmethod
    def ask(secret, signature, text):
        import onfido

        onfido.WebhookEventVerifier(secret).read_payload(text, signature)


class GoCardless(Body):
    package = "gocardless_pro"
    header = "Webhook-Signature"

    @staticmethod
    def ask(secret, signature, text):
        import gocardless_pro.webhooks

        gocardless_pro.webhooks.parse_with_meta(text, secret, signature)


class CoinbaseCommerce(Body):
    package = "coinbase-commerce"
    header = "X-CC-Webhook-Signature"

    @staticmethod
    def ask(secret, signature, text):
        import coinbase_commerce.webhook

        coinbase_commerce.webhook.Webhook.construct_event(text, signature, secret)


class Viber(Body):
    package = "viberbot"
    header = "X-Viber-Content-Signature"

    class Placeholder(str):
        """Equal to nothing, and remembers what it was compared with."""

        def __eq__(self, other):
            self.compared = other
            return False

    @classmethod
    def sign(cls, request):
        placeholder = cls.Placeholder()
        cls.api(request.secret).verify_signature(request.body, placeholder)
        return [[cls.header, placeholder.compared]]

    @classmethod
    def ask(cls, secret, signature, text):
        if not cls.api(secret).verify_signature(text.encode(), signature):
            raise Refused("Api.verify_signature answered False")

    @staticmethod
    def api(secret):
        from viberbot import Api, BotConfiguration

        return Api(BotConfiguration(auth_token=secret, name="bot", avatar=""))


class WorkOs:
    package = "workos"

    @classmethod
    def sign(cls, request):
        signed = f"t={request.now}000, v1="
        with clock_at(request.now):
            ask = lambda placeholder: cls.ask(request.secret, signed + placeholder, request.body)
            return [["WorkOS-Signature", signed + expected_by(ask)]]

    @classmethod
    def verify(cls, secret, headers, body):
        cls.ask(secret, headers.get("workos-signature"), body)

    @staticmethod
    def ask(secret, signature, body):
        from workos.webhooks._verification import verify_header

        verify_header(event_body=body, event_signature=signature, secret=secret)


class Resend:
    package = "resend"

    @classmethod
    def sign(cls, request):
        headers = {"svix-id": request.id or "msg_1", "svix-timestamp": str(request.now)}

        def ask(placeholder):
            signature = {"svix-signature": f"v1,{placeholder}"}
            cls.verify(request.secret, {**headers, **signature}, request.body)

        with clock_at(request.now):
            return [*map(list, headers.items()), ["svix-signature", f"v1,{expected_by(ask)}"]]

    @staticmethod
    def verify(secret, headers, body):
        import resend

        parts = {name: headers.get(f"svix-{name}") for name in ("id", "timestamp", "signature")}
        asked = {"payload": body.decode(), "headers": parts, "webhook_secret": secret}
        resend.Webhooks.verify(asked)
        return parts["id"]


class HubSpot:
    """The third version of its signatures."""

    package = "hubspot-api-client"

    @staticmethod
    def sign(request):
        from hubspot.utils.signature import Signature

        timestamp = f"{request.now}000"
        signature = Signature.get_signature(
            request.secret, request.text(), "v3", request.url, "POST", timestamp
        )
        return [
            ["X-HubSpot-Signature-v3", signature],
            ["X-HubSpot-Request-Timestamp", timestamp],
        ]

    @staticmethod
    def verify(secret, headers, body, url):
        from hubspot.utils.signature import Signature

        genuine = Signature.is_valid(
            signature=headers.get("x-hubspot-signature-v3", ""),
            client_secret=secret,
            request_body=body.decode(),
            http_uri=url,
            signature_version="v3",
            timestamp=headers.get("x-hubspot-request-timestamp"),
        )
        if not genuine:
            raise Refused("Signature.is_valid answered False")


class Telnyx:
    package = "telnyx"

    @staticmethod
    def sign(request):
        key = serialization.load_pem_private_key(request.secret.encode(), None)
        timestamp = str(request.now)
        signed = nacl.signing.SigningKey(key.private_bytes_raw()).sign(
            f"{timestamp}|".encode() + request.body
        )
        return [
            ["telnyx-signature-ed25519", base64.b64encode(signed.signature).decode()],
            ["telnyx-timestamp", timestamp],
        ]

    @staticmethod
    def verify(secret, headers, body):
        from telnyx.lib.webhook_verification import verify_webhook_signature

        verify_webhook_signature(body, headers, secret)
        return json.loads(body).get("id")


VERIFIERS = {
    "coinbase_commerce": CoinbaseCommerce,
    "gocardless": GoCardless,
    "hubspot": HubSpot,
    "onfido": Onfido,
    "razorpay": Razorpay,
    "resend": Resend,
    "telnyx": Telnyx,
    "viber": Viber,
    "workos": WorkOs,
}

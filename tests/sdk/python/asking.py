"""What every SDK of the harness is asked with."""

import contextlib
import sys
from datetime import datetime
from unittest import mock

import paddle_billing.Notifications
import slack_sdk.signature
import standardwebhooks.webhooks


class Refused(Exception):
    """An SDK that answers False, rather than raising, did so."""


def expected_by(verify):
    """The signature that an SDK without a signer compares with, taken from its own comparison."""
    compared = []

    def compare(one, other):
        compared.extend(value for value in (one, other) if value not in ("?", b"?"))
        return False

    with mock.patch("hmac.compare_digest", compare), mock.patch.object(
        sys.modules["paddle_billing.Notifications.PaddleSignature"], "compare_digest", compare
    ), contextlib.suppress(Exception):
        verify("?")
    (signature,) = compared
    return signature.decode() if isinstance(signature, bytes) else signature


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
    ), mock.patch("standardwebhooks.webhooks.datetime", Frozen), mock.patch.object(
        sys.modules["paddle_billing.Notifications.Verifier"], "time", lambda: now
    ):
        yield

"""A Kinto server on a free port of 127.0.0.1, as a provider that Hookgate polls.

Everything that it says is Kinto's own; this file starts it, and can let its storage fail.

    python kinto_server.py [SETTING=VALUE ...]

It says `{"port": N}` when it listens. A line of stdin, `down` or `up`, says whether the storage fails
from then on, and is answered on stdout. It ends when stdin does.
"""

import functools
import json
import sys
import threading

import kinto
import waitress
from kinto.core.storage import exceptions, memory

SETTINGS = {
    "kinto.storage_backend": "kinto.core.storage.memory",
    "kinto.cache_backend": "kinto.core.cache.memory",
    "kinto.permission_backend": "kinto.core.permission.memory",
    "kinto.userid_hmac_secret": "of-the-tests",
    # Any name and password are a user.
    "multiauth.policies": "basicauth",
    # A user's own bucket and its collections are there as soon as they are named.
    "kinto.includes": "kinto.plugins.default_bucket",
}
is_down = threading.Event()


def failing(work):
    """The same, which fails while the storage is down."""

    @functools.wraps(work)
    def until_down(*args, **kwargs):
        if is_down.is_set():
            raise exceptions.BackendError(message="the storage is down")
        return work(*args, **kwargs)

    return until_down


def main(overrides):
    for name in ("list_all", "resource_timestamp"):
        setattr(memory.Storage, name, failing(getattr(memory.Storage, name)))
    application = kinto.main({}, **SETTINGS, **dict(one.split("=", 1) for one in overrides))
    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=4)
    threading.Thread(target=server.run, daemon=True).start()
    say({"port": int(server.effective_port)})
    # A test that dies closes the pipe, and so takes its server along.
    for line in sys.stdin:
        word = line.strip()
        {"down": is_down.set, "up": is_down.clear}[word]()
        say(word)


def say(document):
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Secrets, read where a request needs them."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

from entangle.secrets import Secret, known


def read(secret: Secret) -> str:
    """Read a secret, and have `scrub` know it in the forms that it has on its way.

    Args:
        secret: Which one.

    Raises:
        SecretError: It can't be had in this process.
    """
    text = secret.value()
    for form in {*_sent(text), *_repeated(text)}:
        known(form)
    return text


def _sent(text: str) -> list[str]:
    """Return how a URL, a form, JSON, and the bytes of a body hold a text."""
    return [
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
        json.dumps(text)[1:-1],
        _bytes(text),
    ]


def _repeated(text: str) -> list[str]:
    """Return how servers like to write a text in what they answer."""
    escaped = json.dumps(text)[1:-1]
    readable = json.dumps(text, ensure_ascii=False)[1:-1]
    return [
        readable,
        _bytes(readable),
        escaped.replace("/", "\\/"),
        readable.replace("/", "\\/"),
        html.escape(text),
        html.escape(text, quote=False),
    ]


def _bytes(text: str) -> str:
    """Return a text's bytes as `private` and others look at them: a character each."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")

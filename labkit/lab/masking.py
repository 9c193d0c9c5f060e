"""What of a text may be shown: user and password of a URL, and the values of answers, may not."""

from __future__ import annotations

import re

# All before the last '@' counts: a password whose '@' is not percent-encoded has one in itself.
URL_PARTS = (
    (re.compile(r"(://).*@", re.DOTALL), r"\1***@"),
    (re.compile(r"\A(?!.*://)('?).*:.*@", re.DOTALL), r"\1***@"),
    # YAML may have cut it before the '@'; a port is no password.
    (re.compile(r"(://[^/?#@]*?:)(?!\*\*\*|\d{1,5}(?:[/?#]|\Z)).*", re.DOTALL), r"\1***"),
    (re.compile(r"(://[^?]*\?)(?!\*\*\*).*", re.DOTALL), r"\1***"),
)
# YAML cuts a URL at a comma or a colon: of a password only its end is left before the '@'.
REST = re.compile(r"\A(?!.*://)('?).*@", re.DOTALL)
ANSWER = re.compile(r"\b(CONFIG_[A-Z0-9_]+\s*[=:])(?!\*\*\*).*", re.DOTALL | re.IGNORECASE)


def url(text: str) -> str:
    """Return a URL, or what was meant for one, without user, password and query."""
    for pattern, shown in URL_PARTS:
        text = pattern.sub(shown, text)
    return text


def meant_for_url(text: str) -> str:
    """Return what stands in a URL's place, or was cut off one, as it can be shown."""
    text = REST.sub(r"\1***@", anything(text))
    return re.sub(r"\A([^:]*:)(?!//).*", r"\1***", text, flags=re.DOTALL)


def anything(text: str) -> str:
    """Return what somebody wrote anywhere in a lab file as it can be shown."""
    return ANSWER.sub(r"\1***", url(text))

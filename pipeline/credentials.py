"""User and password in a URL are used, and never written or told."""

import re
from typing import Any

URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<rest>\S*)")

OF_WEB = re.compile(r"^[^/?#]*@")
"""User and password of a web address end before its path, which may hold an @ itself."""

OF_DATABASE = re.compile(r"^[^:/@]*(?::[^@]*)?@(?:[^/@:]*@)*")
"""SQLAlchemy takes a password with unescaped ``/``, ``?`` and ``#``; a path to a file begins with ``/``."""

IN_QUERY = re.compile(r"(?<=[?&])(?:user|username|password|passwd|pwd|sslpassword|token)=[^&#\s'\"]*&?", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Take user and password out of every URL in a text, also where its query names them."""
    return URL.sub(_bare, text)


def redacted(value: Any) -> Any:
    """Make settings fit to be written: each text in them :func:`without_credentials`, however deep it stands."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {key: redacted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner) for inner in value]
    return value


def _bare(found: re.Match[str]) -> str:
    scheme, rest = found["scheme"], found["rest"]
    place = OF_WEB if scheme.lower() in ("http", "https") else OF_DATABASE
    bare = place.sub("", rest)
    named = IN_QUERY.sub("", bare)
    return f"{scheme}://{named.rstrip('?&') if named != bare else bare}"

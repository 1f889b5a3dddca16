"""Text without the credentials that URLs in it carry, for all that is shown or written down."""

import re
from typing import Any

_URL = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s'\"<>]+")  # a Path drops a slash
# USER@, USER:SECRET@ and KEY:SECRET@ before a host; a secret may hold slashes, and what follows a colon a port.
_USER = re.compile(r"(?<=:/)(/?)(?:[^/@]*|[^/@:]+:(?!\d+/).*)@")
_QUERY = re.compile(r"\?.*?(?=[\]:,;.)}]*$)")  # of a signed URL; not what ends the sentence


def redacted(text: str) -> str:
    """``text`` with its URLs cut down to where they lead: no user, no password, no query."""
    return _URL.sub(_without_secrets, text)


def redacted_values(value: Any) -> Any:
    """The same for every text in lists, tuples and dictionaries."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redacted_values, value))
    return value


def _without_secrets(url: re.Match[str]) -> str:
    return _QUERY.sub("", _USER.sub(r"\1", url[0], count=1), count=1)

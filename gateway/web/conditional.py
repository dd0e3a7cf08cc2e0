"""Answers that a client or a cache may keep: a strong entity tag, and 304 for who has it already (RFC 9110, 8.8.3 and
13.1.2).

The tag is a digest of the content, so two contents never share one, whatever became of the log below. ``Range`` is
ignored, which RFC 9110 (14.2) allows: what is served is small, and a part of it proves nothing.
"""

import base64
import hashlib
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_DIGEST_BYTES: Final = 16
_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
"""A list as RFC 9110 section 5.6.1.2 has recipients take it: with empty members."""
_EACH: Final = re.compile(_TAG)


def kept_answer(request: Request, content: bytes, media_type: str, cache: str, *, vary: str | None = None) -> Response:
    """``content``, or 304 without it where the request says that the client has exactly this.

    Args:
        cache: for ``Cache-Control``.
        vary: the header of the request by whose value what is kept may be used (RFC 9110 section 12.5.5).
    """
    tag = entity_tag(content)
    headers = {"etag": tag, "cache-control": cache, "accept-ranges": "none"}
    if vary is not None:
        headers["vary"] = vary
    if matches(request.headers.getlist("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def entity_tag(content: bytes) -> str:
    """A strong entity tag, with its quotes."""
    digest = hashlib.sha256(content).digest()[:_DIGEST_BYTES]
    return f'"{base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")}"'


def matches(fields: list[str], tag: str) -> bool:
    """Whether ``If-None-Match`` names ``tag``, compared weakly, or is ``*``. What is no list of tags names nothing."""
    given = ",".join(fields).strip(" \t")
    if given == "*":
        return True
    if _TAGS.fullmatch(given) is None:
        return False
    return any(one.removeprefix("W/") == tag for one in _EACH.findall(given))

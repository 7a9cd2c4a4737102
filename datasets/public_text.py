"""What messages, reports and archives may show of an address: no signature and no password.

Owns which parameters of a query are secrets. A signed address gives the right to read a file for
some hours, so it must not be printed or stored, and a new signature does not make a new file.
Parameters that name the content (``?file=a.nc``) stay.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_plus

# S3 and its relatives (Amazon, Google, Alibaba, Huawei, Tencent), CloudFront, Azure, and the words
# that web servers use
_SECRET = re.compile(
    r"x-(amz|goog|oss|obs|cos|ms)-.*|q-(sign|ak|key|header|url|signature)\b.*"
    r"|.*signature.*|sig|.*accesskeyid|.*accessid|key-pair-id"
    r"|.*(token|secret|passw|credential|api-?key|access-?key|subscription-?key|account-?key).*"
    r"|(pwd|jwt|hmac|hdnea|hdnts|auth|authkey|authorization|bearer|user|username|login|appid)"
    r"|(php|j|asp)?sess?(ion)?-?id|expires?|expiry|expiration",
    re.IGNORECASE,
)
_API_KEY = re.compile(r"key", re.IGNORECASE)
# these belong to a signature, but name the content of other addresses
_OF_A_SIGNATURE = {
    "sv", "ss", "srt", "sp", "se", "st", "spr", "sip", "sr", "sdd", "ses", "skoid", "sktid", "skt",
    "ske", "sks", "skv", "saoid", "suoid", "scid", "rscc", "rscd", "rsce", "rscl", "rsct",
    "policy", "md5", "hash", "exp",
}  # fmt: skip
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`)]*[^\s'\"<>`):;,.]")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#@\s'\"]*(?::[^/?#\s'\"]*)?)@")
_QUERY = re.compile(r"\?.*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s'\"<>`)]*[^\s'\"<>`):;,.]")


def public_address(address: str) -> str:
    """The address without signatures, tokens and passwords: the text that may be shown and stored.

    Two addresses of the same content that differ in their signature give the same text.
    """
    if "://" not in address:
        return address
    return _without_secrets(_USER.sub(_without_user, address))


def public_text(text: str) -> str:
    """A message, perhaps of a library, in which every address is a `public_address`."""
    text = _ADDRESS.sub(lambda found: public_address(found[0]), text)
    return _QUERY_IN_TEXT.sub(lambda found: _public_query(found[0]), text)


def _without_user(found: re.Match[str]) -> str:
    """Keep a user without a password where it may be a name of Azure: ``abfs://container@…``."""
    scheme, user = found[1], found[2]
    return found[0] if ":" not in user and scheme.lower().startswith("abfs") else scheme


def _without_secrets(address: str) -> str:
    """Filter the query of each link of a chain; in a link, ``?`` may also be a glob."""
    links = re.split(r"(::(?=[A-Za-z][A-Za-z0-9+.-]*://))", address)
    return "".join(_QUERY.sub(lambda found: _public_query(found[0]), link) for link in links)


def _public_query(query: str) -> str:
    """A query, from its ``?`` on, without secrets; "" if nothing is left."""
    texts = re.split(r"([?&]|;(?=[^=?&;]+=))", query[1:])
    parameters = list(zip(["?", *texts[1::2]], texts[0::2], strict=True))
    names = [_name(text) for _, text in parameters]
    is_signed = any(_SECRET.fullmatch(name) for name in names)
    kept = [
        (separator, _public_value(text))
        for (separator, text), name in zip(parameters, names, strict=True)
        if not _is_secret(text, name, is_signed)
    ]
    if len(kept) == len(parameters):
        return "".join(separator + text for separator, text in kept)
    kept = [(separator, text) for separator, text in kept if text]
    return "".join(("?" if i == 0 else kept[i][0]) + kept[i][1] for i in range(len(kept)))


def _name(parameter: str) -> str:
    """Name of a parameter with a value, ``-`` in place of ``_`` and space; else empty."""
    name, equals, _ = parameter.partition("=")
    return re.sub("[_ ]", "-", unquote_plus(name).strip()) if equals else ""


def _is_secret(parameter: str, name: str, is_signed: bool) -> bool:
    if _API_KEY.fullmatch(name):  # a key of an object store names the content
        value = unquote_plus(parameter.partition("=")[2])
        return re.search(r"/|\.\w{1,5}$", value) is None
    return bool(_SECRET.fullmatch(name)) or (is_signed and name.lower() in _OF_A_SIGNATURE)


def _public_value(parameter: str) -> str:
    """A parameter whose value may be another, signed address."""
    name, equals, value = parameter.partition("=")
    inner = unquote_plus(value)
    if "://" not in inner or public_address(inner) == inner:
        return parameter
    return f"{name}{equals}{quote(public_address(inner), safe='')}"

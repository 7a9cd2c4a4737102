"""What messages, reports and archives may show of an address: no signature and no password.

Owns which parameters of a query are secrets. A signed address gives the right to read a file for
some hours, so it must not be printed or stored, and a new signature does not make a new file.
Parameters that name the content (``?file=a.nc``) stay.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_plus

MAX_DEPTH = 4  # of addresses that are parameters of each other; a hostile text may have thousands
MAX_QUERY = 2**15  # characters; web servers refuse longer ones
MAX_MESSAGE = 8000  # characters of a message; a file's attribute may have millions

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
# bounded, because each letter of a long word might begin a scheme: the time would be quadratic
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}://"
_ADDRESS = re.compile(_SCHEME + r"[^\s'\"<>`)]*[^\s'\"<>`):;,.]")
_USER = re.compile(rf"({_SCHEME})([^/?#\s'\"]*)@")
_QUERY = re.compile(r"\?.*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s'\"<>`)]*[^\s'\"<>`):;,.]")


def public_address(address: str) -> str:
    """The address without signatures, tokens and passwords: the text that may be shown and stored.

    Two addresses of the same content that differ in their signature give the same text.
    """
    if "://" not in address:
        return address
    return _without_secrets(_USER.sub(_without_user, address), 0)


def public_text(text: str) -> str:
    """A message, perhaps of a library, in which every address is a `public_address`."""
    text = _ADDRESS.sub(lambda found: public_address(found[0]), text)
    return _QUERY_IN_TEXT.sub(lambda found: _public_query(found[0]), text)


def public_message(text: str) -> str:
    """As `public_text`, and without the middle of a text that is too long to be read.

    The end of a message says what to do. It begins after a space, so that no secret of an address
    is left whose beginning was cut off.
    """
    if len(text) <= MAX_MESSAGE:
        return public_text(text)
    half = MAX_MESSAGE // 2
    end = re.sub(r"^\S*", "", text[-half:])
    left_out = len(text) - half - len(end)
    return f"{public_text(text[:half])} … ({left_out:,} characters left out) …{public_text(end)}"


def _without_user(found: re.Match[str]) -> str:
    """Keep a user without a password where it may be a name of Azure: ``abfs://container@…``."""
    scheme, user = found[1], found[2]
    return found[0] if ":" not in user and scheme.lower().startswith("abfs") else scheme


def _without_secrets(address: str, depth: int = 0) -> str:
    """Filter the query of each link of a chain; in a link, ``?`` may also be a glob."""
    links = re.split(f"(::(?={_SCHEME}))", address)
    return "".join(_QUERY.sub(lambda found: _public_query(found[0], depth), link) for link in links)


def _public_query(query: str, depth: int = 0) -> str:
    """A query, from its ``?`` on, without secrets; "" if nothing is left.

    ``depth`` counts the addresses that the query's own address is a parameter of.
    """
    if len(query) > MAX_QUERY:
        return ""
    texts = re.split(r"([?&]|;(?=[^=?&;]+=))", query[1:])
    parameters = list(zip(["?", *texts[1::2]], texts[0::2], strict=True))
    names = [_name(text) for _, text in parameters]
    is_signed = any(_SECRET.fullmatch(name) for name in names)
    kept = [
        (separator, _public_value(text, depth + 1))
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


def _public_value(parameter: str, depth: int) -> str:
    """A parameter whose value may be another, signed address; "" if it is one too deep inside."""
    name, equals, value = parameter.partition("=")
    inner = unquote_plus(value)
    if "://" not in inner:
        return parameter
    if depth > MAX_DEPTH:
        return f"{name}{equals}"
    public = _without_secrets(_USER.sub(_without_user, inner), depth)
    return parameter if public == inner else f"{name}{equals}{quote(public, safe='')}"

"""What messages, reports and archives may show of addresses: no signature, token or password."""

import time
from urllib.parse import quote

import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.public_text import MAX_MESSAGE, public_address, public_message, public_text

AMAZON = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20240601%2Feu&X-Amz-Date=20240601"
    "&X-Amz-Expires=3600&X-Amz-Security-Token=hunter2&X-Amz-SignedHeaders=host&X-Amz-Signature=hunter2"
)
SIGNATURES = [
    AMAZON,
    AMAZON.lower(),
    "AWSAccessKeyId=AKIA&Expires=1718&Signature=hunter2",
    "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=me%40x&X-Goog-Signature=hunter2",
    "GoogleAccessId=me&Expires=1718&Signature=hunter2",
    "sv=2022-11-02&st=2024&se=2025&sr=b&sp=r&spr=https&sig=hunter2%3D",
    "Expires=1718&Signature=hunter2&Key-Pair-Id=K2&Policy=ey",
    "OSSAccessKeyId=A&Expires=1718&Signature=hunter2&security-token=hunter2",
    "q-sign-algorithm=sha1&q-ak=A&q-key-time=1;2&q-signature=hunter2",
    "md5=hunter2&expires=1718",
    "token=hunter2",
    "access_token=hunter2",
    "api_key=hunter2",
    "apikey=hunter2",
    "subscription-key=hunter2",
    "key=hunter2",
    "username=me&password=hunter2",
    "X%2DAmz%2DSignature=hunter2",
]


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("start", ["https://host/day/a.nc", "zip://a.nc::https://host/day.zip"])
def test_an_address_loses_its_signature(start: str, signature: str) -> None:
    assert public_address(f"{start}?{signature}") == start


@pytest.mark.parametrize("signature", SIGNATURES)
def test_parameters_that_name_the_content_stay(signature: str) -> None:
    for query in (f"file=a.nc&{signature}&v=2", f"file=a.nc&v=2&{signature}"):
        assert public_address(f"https://host/get?{query}") == "https://host/get?file=a.nc&v=2"


@pytest.mark.parametrize(
    "address",
    [
        "https://host/get?st=KDP&sr=1&se=2",
        "https://host/get?key=radar/a.nc",
        "https://host/get?author=Bob&sequence=3&pass=4",
        "https://host/a.nc?versionId=3",
        "s3://bucket/a?.nc",
        "s3://bucket/sig=1/token=*.nc",
        "/data/a.nc?sig=1",
        "https://host/a@b.nc",
        "abfs://container@account.dfs.core.windows.net/a.nc",
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(address: str) -> None:
    assert public_address(address) == address


def test_an_address_loses_user_and_password() -> None:
    assert public_address("https://me:hunter2@host/a.nc") == "https://host/a.nc"
    assert public_address("https://hunter2@host/a.nc") == "https://host/a.nc"
    chain = "zip://a.nc::s3://AKIA:hunter2@bucket/day.zip"
    assert public_address(chain) == "zip://a.nc::s3://bucket/day.zip"


def test_a_signed_address_inside_a_parameter_loses_its_signature() -> None:
    address = "https://proxy/get?url=https%3A%2F%2Fhost%2Fa.nc%3Fsig%3Dhunter2&v=1"
    assert public_address(address) == "https://proxy/get?url=https%3A%2F%2Fhost%2Fa.nc&v=1"


def test_a_message_of_a_library_loses_all_signatures() -> None:
    text = (
        "403, message='Forbidden', url=URL('https://host/a.nc?sig=hunter2&file=x') for GET "
        "/a.nc?X-Amz-Signature=hunter2 (https://me:hunter2@host/b?token=hunter2): what? try again"
    )
    assert public_text(text) == (
        "403, message='Forbidden', url=URL('https://host/a.nc?file=x') for GET "
        "/a.nc (https://host/b): what? try again"
    )


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_no_error_shows_a_signature(kind: type[ValueError]) -> None:
    error = kind("https://host/a.nc?sig=hunter2: cannot be read")
    assert "hunter2" not in f"{error} {error!r} {error.args}"


MILLION = 1_000_000
HOSTILE = {
    "a word": "a" * MILLION,
    "an address": "x://" + "a" * MILLION,
    "schemes": "a://" * (MILLION // 4),
    "a user": "a://" + ":" * MILLION + "b",
    "users": "x://u:p@" * (MILLION // 8),
    "question marks": "?" * MILLION,
    "dots": "?" + "." * MILLION,
    "parameters": "http://h/?" + "a=b&" * (MILLION // 4),
    "semicolons": "http://h/?" + ";a" * (MILLION // 2) + "=",
    "an escape": "http://h/?u=" + "%25" * (MILLION // 3),
    "nested": "http://h/?u=" * (MILLION // 12),
    "links": "http://h" + "::a" * (MILLION // 3),
    "a name": "http://h/?" + "token_" * (MILLION // 6) + "=1",
    "spaces": " " * MILLION,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("function", [public_text, public_address, public_message, DataError])
def test_a_hostile_text_of_a_million_characters_takes_no_quadratic_time(function, text) -> None:
    """A word of 100,000 letters took 17 to 35 s: each letter might begin a scheme."""
    began = time.process_time()
    function(text)
    assert time.process_time() - began < 8  # 0.1 s; it took 17 s and more


def test_addresses_inside_each_other_take_no_exponential_time() -> None:
    address = "https://host/a?sig=hunter2"
    for _ in range(30):
        address = "https://host/a?u=" + quote(address, safe="")
    began = time.process_time()
    assert "hunter2" not in public_address(address)
    assert time.process_time() - began < 8  # 0.1 s; it took 17 s and more
    twice = "https://h/a?u=" + quote(
        "https://h/b?v=" + quote("https://h/c?sig=hunter2&w=1", ""), ""
    )
    inner = quote("https://h/b?v=" + quote("https://h/c?w=1", ""), "")
    assert public_address(twice) == f"https://h/a?u={inner}"


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(DataError("attribute 'units' is '" + "x y " * MILLION + "'; correct the file"))
    assert len(message) < 1.1 * MAX_MESSAGE
    assert message.startswith("attribute 'units' is 'x y")
    assert message.endswith("x y '; correct the file")
    assert "characters left out" in message
    short = "x" * MAX_MESSAGE
    assert public_message(short) == short


def test_the_cut_of_a_long_message_leaves_no_half_of_a_secret() -> None:
    """The half of an address behind the cut has no ``?`` by which its secrets are known."""
    for length in range(MAX_MESSAGE - 60, MAX_MESSAGE + 60, 7):
        filling = "x" * length
        text = f"{filling} https://h/a?file={filling}&sig=hunter2&token={filling}hunter3; try again"
        message = public_message(text)
        assert "hunter" not in message
        assert message.endswith(("; try again", "again"))


def test_a_scheme_with_a_long_word_before_it_has_no_secret() -> None:
    word = "a" * 100
    assert "hunter2" not in public_text(f"{word}https://me:hunter2@host/a.nc?sig=hunter2")
    assert "hunter2" not in public_text("https://me:hun@hunter2@host/a.nc")

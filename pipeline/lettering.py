"""Texts on pictures: titles, names and licences that come from files are written as they are.

Public: `readable`, `plain`, `write`.

Matplotlib would read ``$`` as the start of a formula, and would draw a box and log a warning for
each character that its font does not have. Every text that comes from outside passes this module.
"""

import logging
import re
import unicodedata
from functools import cache
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

from squall.pipeline.pictures import MAP_STYLE

log = logging.getLogger("squall.pictures")

_LONGEST = 500  # characters; no line of a picture has room for more
_NO_GLYPH = "□"
# Control characters, directions of writing, halves of UTF-16 pairs, private use, unassigned. The
# joiners of Indic and Arabic letters have the same category as directions, and are kept.
_UNWRITABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
_JOINERS = "\u200c\u200d"
_VARIANTS = {chr(code) for code in range(0xFE00, 0xFE10)}  # which form of the letter before
_PLACEHOLDER_FONT = "Last Resort High-Efficiency"  # matplotlib's; it has a box for each script


def readable(text: object) -> str:
    """One line of a text, without characters that cannot be drawn; may be empty."""
    line = re.sub(r"[^\S ]+", " ", str(text)[: 10 * _LONGEST])
    kept = (
        character
        for character in line
        if character in _JOINERS or unicodedata.category(character) not in _UNWRITABLE
    )
    line = "".join(kept).translate(dict.fromkeys(map(ord, _VARIANTS))).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def plain(artist: Text, text: object | None = None) -> Text:
    """Make an artist show its text as it is: no formula, one line, in fonts that have it.

    Characters that no installed font has become □. One warning says so.

    Parameters
    ----------
    text : new text. None: the text that the artist has.
    """
    artist.set_parse_math(False)
    artist.set_usetex(False)
    line = readable(artist.get_text() if text is None else text)
    font = artist.get_fontproperties()
    missing = {character for character in line if not character.isspace()} - _drawable(font)
    missing -= set(_JOINERS)
    if missing:
        families = _families_with(frozenset(missing))
        if families:  # few of them are bold, and matplotlib logs each weight that it lacks
            artist.set_fontweight("normal")
            artist.set_fontfamily([*font.get_family(), *families])
        for family in families:
            missing -= _drawable(FontProperties(family=[family]))
    if missing:
        _warn_once()
        line = "".join(_NO_GLYPH if character in missing else character for character in line)
    artist.set_text(line)
    return artist


def write(
    figure: Figure,
    x_in: float,
    y_in: float,
    text: object,
    room_in: float,
    *,
    smallest: float = 0.8,
    **look: Any,
) -> Text:
    """Write one line of text at a position in inches from the lower left corner.

    Text that is wider than the room is made smaller, down to the share ``smallest`` of its size,
    and then cut.

    Parameters
    ----------
    room_in : width that the text may take [inches]; its height, if it is turned by 90 degrees.
    look : properties of `matplotlib.text.Text`. The text is centred vertically by default.
    """
    width, height = figure.get_size_inches()
    look = {"color": MAP_STYLE.text, "va": "center", **look}
    written = plain(figure.text(x_in / width, y_in / height, "", **look), text)
    room = room_in * figure.dpi
    least = smallest * float(written.get_fontsize())
    while (extent := _length_px(written)) > room and len(written.get_text()) > 4:
        if (size := float(written.get_fontsize())) > least:
            written.set_fontsize(max(least, 0.93 * size))
        else:
            line = written.get_text()
            kept = line[: min(len(line) - 2, int(len(line) * room / extent))].rstrip()
            written.set_text(kept + "…")
    return written


def _length_px(written: Text) -> float:
    extent = written.get_window_extent()
    return extent.height if written.get_rotation() == 90 else extent.width


def _drawable(font: FontProperties) -> set[str]:
    """Characters that a font has."""
    return _characters(font_manager.findfont(font))


@cache
def _characters(path: str) -> set[str]:
    """Characters of a font file; none if it is damaged, or has pictures instead of outlines."""
    try:
        face = font_manager.get_font(path)
        return {chr(code) for code in face.get_charmap()} if face.scalable else set()
    except (OSError, RuntimeError, ValueError):
        return set()


@cache
def _families_with(characters: frozenset[str]) -> tuple[str, ...]:
    """Families of installed fonts that have characters; none where no font has any of them."""
    _add_new_fonts()
    fonts = {
        entry.name: _characters(entry.fname)
        for entry in fontManager.ttflist
        if entry.style == "normal"
        and entry.weight in (400, "normal", "regular")
        and entry.name != _PLACEHOLDER_FONT
    }
    missing, families = set(characters), []
    while missing and fonts:
        family = max(sorted(fonts), key=lambda name: len(missing & fonts[name]))
        found = missing & fonts.pop(family)
        if not found:
            break
        families.append(family)
        missing -= found
    return tuple(families)


def _add_new_fonts() -> None:
    """Tell matplotlib of fonts that were installed after it made its list of fonts."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):
            continue  # a damaged font is no reason not to draw


@cache
def _warn_once() -> None:
    """One warning for a process: a forecast has the same title on all of its maps."""
    log.warning(
        "pictures show %s for characters that no installed font has; install a font that has "
        "them, such as Noto Sans CJK for Chinese, Japanese and Korean",
        _NO_GLYPH,
    )

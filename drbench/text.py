"""Text from outside, made safe to show: labels, error texts, file names, header fields, notes, commands.

`printable` is for one field, `safe` for a whole text whose line breaks and colours are drbench's own. Both show
control characters, text direction overrides, invisible characters and bytes that are not UTF-8 as escapes.
`markdown` and `spreadsheet` add what their formats need; `to_json` keeps text exact.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Any

CELL, LINE = 300, 2000
"""Most characters of a text in a table's cell, and on a line of its own."""
_PLAIN_ONES = "drbench.plain"
_SPACES = frozenset("\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
COLORS = re.compile(r"(\x1b\[[0-9;:]*m)")
CURSOR = re.compile(r"(\x1b\[[0-9;:]*m|\x1b\[\?25[hl]|\x1b\[[0-9]*[ABCDGK]|\r)")
"""What `safe` lets through: colours; and what progress bars need to be drawn again in place."""

# A line that begins so is a workflow command to GitHub's runner; the others are commands anywhere in a line.
_COMMAND = re.compile(r"(?m)((?:^|\r)(?:[^\S\n]|\x1b\[[0-9;:?]*[A-Za-z])*:)(?=:|\Z)")
_OLD_COMMAND = re.compile(r"##(?=\[|vso\[)")

_PLAIN = {
    **dict.fromkeys("─━╌┄\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╞╡╪┏┓┗┛╷╵╶╴╸╺╹╻", "+"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys(_SPACES, " "),
    "Δ": "d",
    "±": "+-",
    "\xd7": "x",
    "∞": "inf",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "µ": "u",
    "•": "*",
}
"""What stands for a character that an encoding lacks: lines of tables, signs, dashes and quotes."""


def printable(text: object, limit: int = LINE) -> str:
    """A text as one line of printable characters, shortened to its first `limit`.

    >>> printable("a\\x1b[2J\\nb")
    'a\\\\x1b[2J\\\\nb'
    >>> printable("a" * 12, limit=4)
    'aaaa... (8 more characters)'
    """
    whole = str(text)
    shown = whole if len(whole) <= limit else whole[:limit]
    if not shown.isprintable():
        shown = "".join(character if _is_visible(character) else escape(character) for character in shown)
    return shown + rest(len(whole) - limit)


def quoted(text: object, limit: int = 200) -> str:
    """A name in quotes, as a message shows it: control characters escaped, a long one shortened.

    >>> quoted("a" * 12, limit=4)
    "'aaaa'... (8 more characters)"
    """
    whole = str(text)
    return repr(whole[:limit]) + rest(len(whole) - limit)


def rest(count: int) -> str:
    """The end of a text that was cut off before its last `count` characters; empty if there are none.

    >>> rest(99_940)
    '... (99,940 more characters)'
    """
    return f"... ({count:,} more characters)" if count > 0 else ""


def safe(text: str, start_of_line: bool = True, allowed: re.Pattern[str] = COLORS) -> str:
    """A text without control characters except line breaks, tabs and those allowed, without commands to a CI's runner.

    `start_of_line`: whether the text begins a line of what it is written to.

    >>> safe("a\\x1b[2Jb\\n::error::c\\n")
    'a\\\\x1b[2Jb\\n: :error::c\\n'
    """
    if not text.replace("\n", "").isprintable():
        text = "".join(
            piece if number % 2 else "".join(map(_kept, piece)) for number, piece in enumerate(allowed.split(text))
        )
    if ":" in text:
        text = _COMMAND.sub(
            lambda found: f"{found[0]} " if found.start() or start_of_line or "\r" in found[0] else found[0], text
        )
    return _OLD_COMMAND.sub("## ", text)


def begins_line(text: str, before: bool) -> bool:
    """Whether what follows `text` begins a line, blanks and colours aside; `before`: whether `text` itself did."""
    whole, _, last = text.rpartition("\n")
    return (bool(whole) or text.startswith("\n") or before) and not COLORS.sub("", last).strip()


def escape(character: str) -> str:
    """A character by its number: "\\\\x1b", "\\\\u202e"; a byte of a name that is not UTF-8 as "\\\\xff"."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # see os.fsdecode
        code -= 0xDC00
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_utf8(text: str) -> bool:
    """Whether a file or a database can hold it: no lone surrogates, as in file names of another encoding."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def encodable(text: str, encoding: str) -> str:
    """A text as far as an encoding has its characters, else with plain ones ("-" for a table's lines) or escapes."""
    return text.encode(encoding, _PLAIN_ONES).decode(encoding)


def markdown(text: object, limit: int = CELL) -> str:
    """A field for GitHub-flavoured Markdown, in a table or out of one: no markup, HTML, links or mentions."""
    shown = printable(text, limit).translate(_MARKDOWN)
    return _LINKED.sub(lambda found: f"{found[0]}<!-- -->", shown)


_LINKED = re.compile(r"\w(?=://)|\bwww(?=\.)|(?<!\w)@(?=\w)", re.IGNORECASE)
"""What GitHub links, or mentions a person for, without any markup; a comment within keeps it from doing so."""
_MARKDOWN = str.maketrans(
    {
        **{character: f"\\{character}" for character in "\\`*_[]|~#$"},
        "<": "&lt;",
        ">": "&gt;",
        "&": "&amp;",
    }
)


def spreadsheet(value: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would take for a formula begins with '; numbers stay numbers.

    (https://owasp.org/www-community/attacks/CSV_Injection)
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    return f"'{shown}" if value.lstrip().startswith(_FORMULA) or value.startswith(("\t", "\r", "\n")) else shown


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the first ones at full width, which some programs read as the same."""


def to_json(value: Any, *, default: Callable[[Any], Any] | None = None, finite: bool = False) -> str:
    """JSON that holds every text exactly, in ASCII and without control characters; ends with a line break.

    `finite`: ValueError for a number that is not.
    """
    text = json.dumps(value, indent=1, default=default, allow_nan=not finite)
    return _OLD_COMMAND.sub("#\\\\u0023", text.replace("\x7f", "\\u007f")) + "\n"


def _kept(character: str) -> str:
    return character if character in "\n\t" or _is_visible(character) else escape(character)


def _is_visible(character: str) -> bool:
    return character.isprintable() or character in _SPACES


def _instead(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of characters that cannot be encoded (see codecs.register_error)."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or escape(character) for character in lacking), error.end


codecs.register_error(_PLAIN_ONES, _instead)

"""Text from outside is shown, never acted on."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from drbench.text import CURSOR, begins_line, encodable, markdown, printable, quoted, safe, spreadsheet, to_json

EVERYTHING = "".join(map(chr, (*range(0x11000), *range(0xE0000, 0xE0200), sys.maxunicode)))
DANGEROUS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, invisible and directing ones, halves of pairs, and separators."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("drconv m=8", "drconv m=8"),
        ("\x1b]0;own\x07\x1b[2J", "\\x1b]0;own\\x07\\x1b[2J"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("a\u202eb\u200b\u2028\U000e0041", "a\\u202eb\\u200b\\u2028\\U000e0041"),
        ("caf\udce9", "caf\\xe9"),  # the byte E9, as Python passes file names on
        ("\ud800", "\\ud800"),
        ("Größe 日本 Δ±\xa0x", "Größe 日本 Δ±\xa0x"),
    ],
)
def test_a_field_is_one_line_of_characters_that_can_be_seen(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_at_all_passes_that_is_not_for_showing() -> None:
    for made in (printable(EVERYTHING, len(EVERYTHING)), safe(EVERYTHING), markdown(EVERYTHING, len(EVERYTHING))):
        found = {unicodedata.category(character) for character in set(made) - {"\n", "\t"}}
        assert not found & DANGEROUS
    assert "\n" not in printable(EVERYTHING, len(EVERYTHING))


def test_what_is_long_is_shortened_and_says_so() -> None:
    assert printable("x" * 100_000, 200) == "x" * 200 + "... (99,800 more characters)"
    assert quoted("x" * 100_000, 200) == f"'{'x' * 200}'... (99,800 more characters)"
    assert printable("x" * 200, 200) == "x" * 200
    assert len(printable("\x00" * 8_000_000)) < 10_000


def test_a_whole_text_keeps_lines_tabs_and_colours_alone() -> None:
    text = "\x1b[1;31mred\x1b[0m\tb\n\x1b[2J\x1b]8;;http://x\x1b\\y\r\n"
    assert safe(text) == "\x1b[1;31mred\x1b[0m\tb\n\\x1b[2J\\x1b]8;;http://x\\x1b\\y\\r\n"
    assert safe("\r\x1b[2K50%\x1b[2J", allowed=CURSOR) == "\r\x1b[2K50%\\x1b[2J"


@pytest.mark.parametrize(
    "command", ["::error::x", "  ::error file=a::x", "\u3000::x", "\x1b[31m::set-output name=a::b"]
)
def test_no_line_is_a_workflow_command(command: str) -> None:
    assert ": :" in safe(command)
    assert ": :" in safe(f"first\n{command}\n")
    assert ": :" in safe(f"\n{command}", start_of_line=False)
    assert safe(command, start_of_line=False) == command
    assert safe("a::b\nstd::vector\n") == "a::b\nstd::vector\n"
    assert safe("a ##[error]x ##vso[task.x]y") == "a ## [error]x ## vso[task.x]y"


def test_where_lines_begin() -> None:
    assert begins_line("a\n", False)
    assert begins_line("  ", True)
    assert begins_line("a\n \x1b[1m", False)
    assert not begins_line("  ", False)
    assert not begins_line("a\nb", True)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "─ Δ ± \xd7 ∞ 日"),
        ("ascii", "- d +- x inf \\u65e5"),
        ("latin-1", "- d ± \xd7 inf \\u65e5"),
        ("cp1252", "- d ± \xd7 inf \\u65e5"),
    ],
)
def test_encodings_that_lack_characters(encoding: str, shown: str) -> None:
    assert encodable("─ Δ ± \xd7 ∞ 日", encoding) == shown
    encodable(safe(EVERYTHING), encoding).encode(encoding)


def test_markdown_has_no_markup_from_outside() -> None:
    assert markdown("a|b`c`*d*_e_") == "a\\|b\\`c\\`\\*d\\*\\_e\\_"
    assert markdown("![x](http://h/y)") == "!\\[x\\](http<!-- -->://h/y)"
    assert markdown("<img src=x>&amp;") == "&lt;img src=x&gt;&amp;amp;"
    assert markdown("www.h.example @all 58@28") == "www<!-- -->.h.example @<!-- -->all 58@28"
    assert markdown("a\n# b") == "a\\\\n\\# b"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-1.5, -1.5),
        (3, 3),
        (None, None),
        ("drconv m=8", "drconv m=8"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("a\r\nb", "a\\r\\nb"),
        ("", ""),
    ],
)
def test_a_spreadsheet_takes_no_text_for_a_formula(value: object, cell: object) -> None:
    assert spreadsheet(value) == cell


def test_json_is_exact_and_plain() -> None:
    text = EVERYTHING[:0xD800] + "##[error]x ##vso[a]\ud800"
    made = to_json({"label": text})
    assert json.loads(made) == {"label": text}
    assert made.isascii()
    assert made == safe(made)
    assert made.replace("\n", "").isprintable()

"""Passwords in database URLs: never shown and never recorded, however malformed the URL is.

`without_password` masks by form, in a URL or in a text that may hold some. `hidden` takes the passwords of a command
line out of a text by themselves: an error may quote them in another form than the URL's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

MASK = "***"
DATABASES = r"(?:postgres(?:ql)?|sqlite|mysql|mariadb|oracle|mssql|cockroachdb)(?:\+\w*)?"
"""The schemes of SQLAlchemy's databases, with a driver or without one."""

_USER = r"[^\s:]{0,1000}"
_ELSEWHERE = "".join(f"(?<!{scheme})" for scheme in ("http", "https", "git", "ssh", "ftp", "file"))
_BEGINNING = rf"({_ELSEWHERE}(?:://++|(?<![:/])//++|\b{DATABASES}:/*+){_USER}:)(?!\*\*\*@)"
_FLAGS = re.DOTALL | re.IGNORECASE
_IN_WORD = re.compile(rf"{_BEGINNING}(.*)(?=@)", _FLAGS)
_IN_TEXT = re.compile(rf"{_BEGINNING}((?:(?!\w{{1,20}}://).){{0,5000}})(?=@)", _FLAGS)  # the next URL is another one
_OTHER = re.compile(rf"(\w://{_USER}:)(?!\*\*\*@)(\S*)(?=@)")
_SETTING = re.compile(r"(?i)(\b\w*(?:password|passwd)\s*=\s*)(?!\*\*\*)('[^']*'|[^\s&'\"]+)")
_QUERY = re.compile(r"(?i)([?&]\w*(?:password|passwd)=)(?!\*\*\*)([^&]*)")
_BARE = re.compile(rf"^(?![a-z]:[\\/]|{DATABASES}:|\w*:/?/)([^\s:/\\~.][^\s:/\\]*:)(?!\*\*\*@)(.*)(?=@)", _FLAGS)
_ANY = tuple(  # of what begins as no path does: from the first colon that is not a scheme's, else from the first
    re.compile(rf"^(?![a-z]:[\\/]|[.~]|/(?!/))(?!.*\*\*\*@)([^@]*?:{last})(.*)(?=@)", _FLAGS)
    for last in (r"(?![:/])", "")
)
_SCHEME = re.compile(f"^{DATABASES}:", re.IGNORECASE)
_WORD = (_IN_WORD, _OTHER, _QUERY, _SETTING)
_DATABASE = (*_WORD, _BARE, *_ANY)


def without_password(text: str) -> str:
    """A text with "***" for the passwords of the URLs in it.

    Where a URL is malformed, more than the password may be masked: up to the last "@" of the text. Text without "//",
    the name of a database or "password=" stays as it is: "own:tiny@x", "12:30 @ home".

    >>> without_password("--db postgresql://me:secret@host/name?sslpassword=x&a=b")
    '--db postgresql://me:***@host/name?sslpassword=***&a=b'
    >>> without_password("postgresql:/me:sec@ret@host/name")
    'postgresql:/me:***@host/name'
    """
    return _masked(text, (_IN_TEXT, _OTHER, _SETTING))


def of_database(database: str) -> str:
    """What is given as a database, masked: one URL, "me:secret@host", which lacks its scheme, or anything like it."""
    return _masked(database, _DATABASE)


def is_url(database: str) -> bool:
    """Whether what is given as a database is meant as a URL, a malformed one too: "postgresql:/x", "me:secret@host".

    So is what libpq takes instead of one: "host=h password=secret".
    """
    return any(form.search(database) for form in (_IN_WORD, _BARE, _SETTING, _SCHEME, *_ANY))


def in_command(arguments: Sequence[str], databases: Iterable[str] = ()) -> tuple[str, ...]:
    """The passwords in the words of a command line, and in `databases`."""
    found: list[str] = []
    for word in arguments:
        _masked(word, _WORD, found)
    for database in (*_databases(arguments), *databases):
        _masked(database, _DATABASE, found)
    return tuple(dict.fromkeys(secret for secret in found if secret.strip()))


def masked_command(arguments: Sequence[str]) -> list[str]:
    """The words of a command line, each masked by itself."""
    databases = set(_databases(arguments))
    shown = []
    for word in arguments:
        option, _, value = word.partition("=")
        if word in databases:
            shown.append(of_database(word))
        elif value in databases:
            shown.append(f"{option}={of_database(value)}")
        else:
            shown.append(_masked(word, _WORD))
    return shown


def hidden(text: str, passwords: Iterable[str]) -> str:
    """A text without these passwords, in any form that a program may have brought them into."""
    for secret in sorted(passwords, key=len, reverse=True):
        forms = (secret, " ".join(secret.split()), unquote(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1])
        for form in dict.fromkeys(forms):
            text = text.replace(form, MASK)
    return text


def _masked(text: str, forms: Iterable[re.Pattern[str]], found: list[str] | None = None) -> str:
    """The text with its passwords masked, which are added to `found`."""

    def mask(match: re.Match[str]) -> str:
        if found is not None:
            found.append(match[2])
        return match[1] + MASK

    for form in forms:
        if form in (_QUERY, _SETTING):
            text = form.sub(mask, text)
        elif "@" in text:  # the others end at one; without this, looking for it from every beginning takes long
            end = text.rindex("@") + 1
            text = form.sub(mask, text[:end]) + text[end:]
    return text


_WITH_VALUE = ("--db=", "--output=", "-o=")


def _databases(arguments: Sequence[str]) -> Iterator[str]:
    """What a command line gives as a database: the values of --db, and all words of `import` and `export`."""
    exchange = any(word in ("import", "export") for word in arguments[:1])
    for number, word in enumerate(arguments):
        if word.startswith(_WITH_VALUE):
            yield word.partition("=")[2]
        elif exchange or (number and arguments[number - 1] == "--db"):
            yield word

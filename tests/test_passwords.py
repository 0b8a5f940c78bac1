"""No password of a URL is shown, however malformed the URL is; ordinary text stays readable."""

from __future__ import annotations

import random
import string
import time

import pytest

from drbench.passwords import hidden, in_command, masked_command, of_database, without_password

URLS = (
    "postgresql://u:{}@h/x",
    "postgresql+psycopg://u:{}@h:5432/x?a=b",
    "postgres://:{}@h",
    "postgresql:/u:{}@h/x",
    "postgresql:u:{}@h/x",
    "postgresql:///u:{}@h/x",
    "postgresql//u:{}@h/x",
    "postgrsql://u:{}@h/x",
    "://u:{}@h",
    "//u:{}@h/x",
    "POSTGRESQL://u:{}@h/x",
    "postgresql://me@azure:{}@h/x",
    "mysql+pymysql://u:{}@h/x",
    "sqlite://u:{}@h/x.db",
    "u:{}@h/x",
)


def secrets() -> list[str]:
    """Passwords that hold every character a URL is read by, with "KEY" at both ends of what must not be seen."""
    made = [
        "KEY",
        "KEY@KEY",
        "KEY:KEY",
        "KEY/KEY",
        "KEY KEY",
        "KEY\nK@KEY",
        "KEY%40KEY",
        "KEY'KEY",
        "KEY?&KEY",
        "KEY://KEY",
    ]
    numbers = random.Random(9)
    alphabet = string.punctuation + string.ascii_lowercase + " \n\té日"
    made += [f"KEY{''.join(numbers.choices(alphabet, k=numbers.randrange(1, 12)))}KEY" for _ in range(200)]
    return made


@pytest.mark.parametrize("url", URLS)
def test_a_database_is_shown_without_its_password(url: str) -> None:
    for secret in secrets():
        given = url.format(secret)
        words = masked_command(["run", "suite", "smoke", "--db", given, f"--db={given}"])
        assert words[:4] == ["run", "suite", "smoke", "--db"]
        for shown in (of_database(given), *words[4:]):
            assert "KEY" not in shown
            assert "***@h" in shown
        for found in (in_command(["run", "--db", given]), in_command([f"--db={given}"]), in_command([], [given])):
            assert "KEY" not in hidden(f"a driver says {secret!r}, {secret}, {' '.join(secret.split())}", found)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql/u:{}@h:5432/x",
        "http//u:{}@h/x",
        ":/u:{}@h/x",
        "//u\n:{}@h/x",
        "::{}@h/x",
        ":u:{}@h/x",
        "p\x1b/u\n:{}@h/x",
        "postgres:///u:{}@h/x",
    ],
)
def test_what_is_hardly_a_url_is_masked_where_a_database_is_meant(url: str) -> None:
    for secret in secrets():
        shown = of_database(url.format(secret))
        assert "KEY" not in shown
        assert "***@h" in shown


@pytest.mark.parametrize("path", ["runs/a@b.db", "./a:b@c", "/a:b@c", "~/a:b@c", r"C:\a:b@c", "my:runs.db", "x.db"])
def test_a_path_is_shown_as_it_is(path: str) -> None:
    assert of_database(path) == path


@pytest.mark.parametrize("url", [url for url in URLS if not url.startswith("u:")])
def test_a_text_is_shown_without_the_passwords_in_it(url: str) -> None:
    for secret in secrets():
        if "://" not in secret:
            shown = without_password(f"{url.format(secret)} failed; use a path or postgresql://user@host/name")
            assert "KEY" not in shown
            assert shown.endswith(" failed; use a path or postgresql://user@host/name")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql://me@host/db?password=KEY&sslpassword=KEY&x=1",
            "postgresql://me@host/db?password=***&sslpassword=***&x=1",
        ),
        ("host=h password=KEY user=u", "host=h password=*** user=u"),
        ("https://me:KEY@github.com/x", "https://me:***@github.com/x"),
        ("a postgres://u:KEY@h/1 b postgres://u:KEY@h/2", "a postgres://u:***@h/1 b postgres://u:***@h/2"),
        ("postgresql://u:***@h/x --shapes 1x1@28", "postgresql://u:***@h/x --shapes 1x1@28"),
    ],
)
def test_other_forms(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "own:tiny@x",
        "mail me@host.example: a@b",
        r"C:\Users\me@corp\x.db",
        "at 12:30 @ home",
        "results/a:b@c.db",
        "postgresql://me@host:5432/db",
        "http://host:80/x and me@host",
        "--shapes 1x1-24-58@28 --only net:a@b",
        "sqlite:///x.db",
    ],
)
def test_ordinary_text_stays_readable(text: str) -> None:
    assert without_password(text) == text


def test_a_long_text_takes_no_time() -> None:
    begun = time.perf_counter()
    for text in ("//" * 10_000, "a//" * 6_000, "postgresql:" * 1_800 + "a://@", "://" + "x" * 20_000, "x@" * 10_000):
        without_password(text)
        in_command([text])
    assert time.perf_counter() - begun < 30

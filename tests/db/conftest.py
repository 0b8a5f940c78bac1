"""A database as the previous version of drbench left it; a PostgreSQL server for as long as the tests take."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

FIXTURES = {path.stem[-4:]: path for path in sorted(Path(__file__).with_name("fixtures").glob("schema-*.sql"))}
"""The dump of a database, by the schema that it has."""
PASSWORD = "a-secret-word"
OWNER = "postgres"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A file of schema 0001, written by SQLite alone."""
    return _restored("0001", tmp_path)


@pytest.fixture(params=FIXTURES)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each schema that there is a dump of, the current one included."""
    return _restored(request.param, tmp_path)


def _restored(revision: str, folder: Path) -> Path:
    path = folder / "previous.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIXTURES[revision].read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode=wal")
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server: the one that DRBENCH_TEST_POSTGRESQL names, or one that is started here."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'drbench[postgresql]')")
    given = os.environ.get("DRBENCH_TEST_POSTGRESQL")
    if given:
        yield given
        return
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql, or name one in DRBENCH_TEST_POSTGRESQL")
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not _known(OWNER):
        pytest.skip(f"PostgreSQL will not run as root, and there is no user {OWNER!r} to run it")
    with _started(programs) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """The URL of an empty database, gone after the test."""
    name = f"drbench_test_{token_hex(6)}"
    at = make_url(server)
    admin = create_engine(at.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield at.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


def _programs() -> Path | None:
    """Where initdb and pg_ctl are: on the PATH, or where Debian puts them, the newest version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    places = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((place.parent for place in places), key=lambda bin: float(bin.parent.name), default=None)


def _known(user: str) -> bool:
    import pwd

    return any(entry.pw_name == user for entry in pwd.getpwall())


@contextmanager
def _started(programs: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="drbench-pg-", dir="/tmp"))  # short enough for a socket, open to its owner
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": OWNER, "group": OWNER, "extra_groups": []}
        shutil.chown(folder, OWNER, OWNER)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        with (folder / "said").open("w") as said:  # no pipe: the server would hold its other end
            done = subprocess.run(command, cwd=folder, stdout=said, stderr=said, check=False, timeout=60, **who)
        assert done.returncode == 0, f"{command}: {(folder / 'said').read_text()}"

    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    password, data = folder / "password", folder / "data"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    run(
        "initdb",
        "-D",
        str(data),
        "-U",
        OWNER,
        "-A",
        "scram-sha-256",
        f"--pwfile={password}",
        "-E",
        "UTF8",
        "--locale=C",
        "-N",
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=40"
    try:
        run("pg_ctl", "-D", str(data), "-w", "-t", "30", "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql://{OWNER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)

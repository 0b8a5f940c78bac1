"""A small real database, and ways to damage it: what `tests/db/test_damaged.py` and the fuzzer work with.

    hostile_db.make(path)                                   # a suite's run and one of the operator benchmark
    name, change = next(hostile_db.mutations(random.Random(7)))
    change(path)                                            # damages the file, as `name` says

A mutation writes with SQLite alone and without its constraints, so that any value gets into any column; or it changes
bytes of the file. The same generator gives the same mutations.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from drbench_db import Store

DUMP = Path(__file__).with_name("db") / "fixtures" / "schema-0001.sql"
SUITE, OPS = "20261125-0219-previous-a02c", "20261125-0219-ops-8af5ba6f"
"""The runs in it: 14 records, 8 records."""

Change = Callable[[Path], None]

TABLES = ("machine", "code", "suite", "run", "variant", "record", "measurement", "sample", "layer", "epoch")
TABLES_OF_A_RECORD = ("measurement", "sample", "layer", "epoch", "outcome", "file")
JSON_COLUMNS = (
    ("variant", "architecture_args"),
    ("variant", "definition"),
    ("record", "settings"),
    ("record", "notes"),
    ("measurement", "context"),
    ("layer", "output_shape"),
    ("layer", "parts"),
)
VALUES: tuple[Any, ...] = (
    *(None, "", "text", "\x1b]0;own\x07\x1b[2J", "two\nlines", "a\0b", "9" * 5000, "nan", "2026-99-99T99:99:99Z"),
    *(0, -1, 1.5, 2**31, 2**63 - 1, -(2**63), 1e308, float("inf"), float("-inf"), 5e-324),
    *(b"", b"\xff\xfe", b"seven b", "x" * 100_000),
)
"""For any column."""
JSON_TEXTS = (
    *("null", "[]", "{}", "5", '"text"', "true", "{", "", "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900),
    *('{"a": NaN}', '{"batch_size": 1e999}', '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', "[[[[[[[]]]]]]]"),
    *('{"data": [], "train": 5}', '{"where": null, "input_shape": "x"}', '{"interval": [], "batch_size": "8"}'),
    *("[" * 40 + "]" * 40, '{"operator_args": {"regions": 1' + "0" * 40 + "}}"),
)
"""For columns of JSON."""
JSON_VALUES: tuple[Any, ...] = (
    *(None, [], {}, "text", "", True, 0, -1, 1.5, 2**70, 1e300, [None], [[]], {"a": None}, "\x1b[2J"),
    *(["a", "b"], [1, "a"], "9" * 400),
)
"""For one key within a JSON column."""


@cache
def _content() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "real.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(DUMP.read_text(encoding="utf-8"))
        Store.open(path, write=True).close()
        return path.read_bytes()


def make(path: Path) -> Path:
    """The database, in its current schema and nothing wrong with it."""
    path.write_bytes(_content())
    return path


def edit(path: Path, *statements: str | tuple[str, Sequence[Any]]) -> None:
    """Run SQL on the file as it is, without any constraint of the tables."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")
        connection.execute("PRAGMA writable_schema=RESET")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(*((statement,) if isinstance(statement, str) else statement))


def put(table: str, column: str, value: Any, where: str = "1", *, text: bool = False) -> Change:
    """A value into a column of the rows that SQL's `where` names; `text`: bytes as text, UTF-8 or not."""
    holder = "CAST(? AS TEXT)" if text else "?"
    return lambda path: edit(path, (f"UPDATE OR IGNORE {table} SET {column} = {holder} WHERE {where}", (value,)))


def put_key(table: str, column: str, key: str, value: Any, where: str = "1") -> Change:
    """A value (... to remove the key) at one key of the tables in a JSON column."""

    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {where}").fetchall()
        changes = []
        for (text,) in found:
            content = json.loads(text)
            if isinstance(content, dict):
                content = {name: item for name, item in content.items() if name != key}
                content |= {} if value is ... else {key: value}
                changes.append((f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (json.dumps(content), text)))
        edit(path, *changes)

    return change


def flip(places: Sequence[tuple[float, int]]) -> Change:
    """Bits of the file: (share of its length, bit)."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        for share, bit in places:
            content[int(share * len(content))] ^= 1 << bit
        path.write_bytes(content)

    return change


def cut(share: float) -> Change:
    """The file ends early."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)]) and None


def overwrite(share: float, content: bytes) -> Change:
    """Bytes at a place."""

    def change(path: Path) -> None:
        old = path.read_bytes()
        place = int(share * len(old))
        path.write_bytes(old[:place] + content + old[place + len(content) :])

    return change


def beside(suffix: str, content: bytes) -> Change:
    """A file that SQLite looks for beside its own."""
    return lambda path: path.with_name(path.name + suffix).write_bytes(content) and None


def mutations(rng: random.Random) -> Iterator[tuple[str, Change]]:
    """One damage after the other, for ever: (name, what does it to a file that `make` made)."""
    kinds: tuple[Callable[[random.Random], tuple[str, Change]], ...] = (
        *[_field] * 4,
        *[_json_text] * 2,
        *[_json_key] * 4,
        *[_bytes] * 2,
        _structure,
    )
    while True:
        yield rng.choice(kinds)(rng)


def _some_rows(rng: random.Random) -> str:
    """All rows, or about one in three of them."""
    return rng.choice(("1", f"abs(random()) % 3 = {rng.randrange(3)}"))


def _field(rng: random.Random) -> tuple[str, Change]:
    from drbench_db.schema import Base

    table = rng.choice((*TABLES, "outcome", "file"))
    column = rng.choice([column.name for column in Base.metadata.tables[table].columns])
    value, text = rng.choice(VALUES), rng.random() < 0.5
    return f"{table}.{column} = {value!r:.40}", put(
        table, column, value, _some_rows(rng), text=text and value == b"\xff\xfe"
    )


def _json_text(rng: random.Random) -> tuple[str, Change]:
    table, column = rng.choice(JSON_COLUMNS)
    value = rng.choice(JSON_TEXTS)
    return f"{table}.{column} = {value!r:.40}", put(table, column, value, _some_rows(rng))


def _json_key(rng: random.Random) -> tuple[str, Change]:
    from drbench_db import shapes

    table, column = rng.choice(JSON_COLUMNS[:5])
    known = {
        "architecture_args": ("outputs", "kernel", "stride"),
        "definition": shapes.DEFINITION_KEYS,
        "settings": ("data", "train", "latency", "kernels", "rates", "clock", "networks", "synthetic", "data_digest"),
        "notes": ("0",),
        "context": shapes.CONTEXT_KEYS,
    }
    key, value = rng.choice(known[column]), rng.choice((..., *JSON_VALUES))
    return f"{table}.{column}.{key} = {value!r:.40}", put_key(table, column, key, value)


def _bytes(rng: random.Random) -> tuple[str, Change]:
    kind = rng.randrange(4)
    if kind == 0:
        return "cut", cut(rng.random())
    if kind == 1:
        return "overwrite", overwrite(rng.random(), rng.randbytes(rng.choice((1, 100, 5000))))
    if kind == 2:
        suffix = rng.choice(("-wal", "-shm", "-journal"))
        return f"beside {suffix}", beside(suffix, rng.randbytes(rng.choice((1, 100, 5000))))
    return "flip", flip([(rng.random(), rng.randrange(8)) for _ in range(rng.choice((1, 10, 1000)))])


STRUCTURES: dict[str, tuple[str, ...]] = {
    "no machine": ("DELETE FROM machine",),
    "no suite": ("DELETE FROM suite",),
    "no code": ("DELETE FROM code",),
    "no run": ("DELETE FROM run",),
    "no variant": ("DELETE FROM variant WHERE id % 2",),
    "no record": ("DELETE FROM record WHERE id % 2",),
    "no measurement": ("DELETE FROM measurement WHERE position % 2",),
    "no samples": ("DELETE FROM sample WHERE position % 2",),
    "a table is missing": ("DROP TABLE epoch",),
    "a column is missing": ("ALTER TABLE epoch DROP COLUMN seconds",),
    "a view for a table": ("ALTER TABLE epoch RENAME TO other", "CREATE VIEW epoch AS SELECT * FROM other"),
    "a view of itself": ("DROP TABLE epoch", "CREATE VIEW epoch AS SELECT * FROM epoch"),
    "views without end": (
        "DROP TABLE epoch",
        "CREATE VIEW v0 AS SELECT 1 AS record_id",
        *(f"CREATE VIEW v{n + 1} AS SELECT a.record_id FROM v{n} AS a, v{n} AS b, v{n} AS c" for n in range(30)),
        "CREATE VIEW epoch AS SELECT * FROM v30",
    ),
    "a view that never ends": (
        "DROP TABLE epoch",
        "CREATE VIEW epoch AS WITH RECURSIVE r(record_id) AS (SELECT 1 UNION ALL SELECT record_id + 1 FROM r) "
        "SELECT * FROM r",
    ),
    "a revision that is a view": (
        "DROP TABLE drbench_revision",
        "CREATE VIEW drbench_revision AS WITH RECURSIVE r(version_num) AS (SELECT 1 UNION ALL SELECT 1 FROM r) "
        "SELECT count(*) AS version_num FROM r",
    ),
    "a trigger": ("CREATE TRIGGER own AFTER INSERT ON record BEGIN DELETE FROM run; END",),
    "another revision": ("UPDATE drbench_revision SET version_num = char(27) || '[2J'",),
    "no revision": ("DELETE FROM drbench_revision",),
    "two runs of one id": (
        "CREATE TABLE runs2 AS SELECT * FROM run",
        "DROP TABLE run",
        "ALTER TABLE runs2 RENAME TO run",
        "INSERT INTO run SELECT * FROM run",
    ),
    "two records of one number": (
        "CREATE TABLE records2 AS SELECT * FROM record",
        "DROP TABLE record",
        "ALTER TABLE records2 RENAME TO record",
        "INSERT INTO record SELECT * FROM record WHERE id < 5",
    ),
}
"""SQL that changes what there is."""


def _structure(rng: random.Random) -> tuple[str, Change]:
    name = rng.choice(sorted(STRUCTURES))
    return name, partial(_run, STRUCTURES[name])


def _run(statements: Sequence[str], path: Path) -> None:
    edit(path, "DROP VIEW results", "DROP VIEW leaderboard", "DROP VIEW runs", *statements)

"""Where the files of runs are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drbench.errors import InputError
from drbench.run.files import files_beside, run_folder
from tests.books import RUN


def test_the_files_of_runs_are_next_to_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert files_beside("there/a.db") == tmp_path.resolve() / "there" / "drbench-files"
    assert files_beside("postgresql://server/name") == tmp_path.resolve() / "drbench-files"
    monkeypatch.setenv("DRBENCH_DB", str(tmp_path / "there" / "b.db"))
    assert files_beside(None) == tmp_path.resolve() / "there" / "drbench-files"


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a" * 200])
def test_an_id_that_drbench_never_makes_names_no_run_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="Nothing was written"):
        run_folder(tmp_path, replace(RUN, id=name))


def test_files_that_no_record_could_name_are_refused_before_anything_is_run() -> None:
    with pytest.raises(InputError, match=r"drbench-files: got '/caf\\xe9'; expected a directory whose name is UTF-8"):
        run_folder(Path("/caf\udce9"), RUN)

"""A file appears whole or not at all, and a path that cannot be written to is an `OutputPathError`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nirs4all_store import OutputPathError
from nirs4all_store.filesystem.atomic_files import (
    TEMPORARY_PREFIX,
    atomic_write,
    make_folder,
    temporary_beside,
    with_suffix_added,
    write_atomic,
    write_exclusive,
)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_the_block_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert names(tmp_path) == [temporary.name]
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "file", b"old")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"ne")
        assert path.read_bytes() == b"old"
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    path = write_atomic(tmp_path / "file", b"old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "file") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_makes_an_empty_file(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b""


def test_missing_parents_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "file"
    assert write_atomic(path, b"x") == path
    assert path.read_bytes() == b"x"
    make_folder(tmp_path / "a" / "d" / "e")
    make_folder(tmp_path / "a" / "d" / "e")
    assert names(tmp_path / "a") == ["b", "d"]


def test_a_relative_path_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic(Path("file"), b"x")
    write_atomic(Path("a/b"), b"y")
    assert names(tmp_path) == ["a", "file"]
    assert (tmp_path / "a" / "b").read_bytes() == b"y"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as first:
        first.write_bytes(b"first")
        with atomic_write(path) as second:
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_folder_as_a_path_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    write_atomic(tmp_path / "folder" / "inside", b"x")
    with pytest.raises(OutputPathError, match="it is a folder"):
        write_atomic(tmp_path / "folder", b"y")
    with pytest.raises(OutputPathError, match="it is a folder"), atomic_write(tmp_path):
        pass
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["inside"]


def test_a_file_among_the_parents_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    file = write_atomic(tmp_path / "file", b"x")
    for path in (file / "below", file / "far" / "below"):
        with pytest.raises(OutputPathError, match="cannot write"):
            write_atomic(path, b"y")
    assert file.read_bytes() == b"x"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300 + "/b", "a\0b"], ids=["long", "long parent", "NUL"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputPathError, match="cannot write"):
        write_atomic(tmp_path / name, b"x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_output_path_error_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path, b"x")


@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_the_rights_of_a_file_and_of_a_new_folder_follow_the_umask(tmp_path: Path, mask: int, rights: int) -> None:
    with umask(mask):
        path = write_atomic(tmp_path / "folder" / "file", b"x")
    assert path.stat().st_mode & 0o777 == rights
    assert path.parent.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("dangling", [False, True])
def test_an_output_path_that_is_a_link_is_refused(tmp_path: Path, dangling: bool) -> None:
    target = write_atomic(tmp_path / "target", b"old")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" if dangling else target)
    with pytest.raises(OutputPathError, match="link"):
        write_atomic(tmp_path / "link", b"new")
    assert target.read_bytes() == b"old"
    assert (tmp_path / "link").is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_link_that_came_while_a_file_was_written_was_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputPathError, match="is a link"), atomic_write(tmp_path / "file") as temporary:
        temporary.write_bytes(b"new")
        (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").is_symlink()


def test_a_file_system_without_links_could_have_no_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_none(*_: object) -> None:
        raise PermissionError("this file system has no links")

    monkeypatch.setattr(os, "link", has_none)
    assert write_exclusive(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert names(tmp_path) == ["file"]


def test_of_two_who_wrote_a_new_name_both_were_told_that_it_is_theirs(tmp_path: Path) -> None:
    assert [write_exclusive(tmp_path / "file", content) for content in (b"first", b"second")] == [True, False]
    assert (tmp_path / "file").read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_a_temporary_name_is_hidden_beside_the_file_and_new_each_time(tmp_path: Path) -> None:
    made = {temporary_beside(tmp_path / "file") for _ in range(100)}
    assert len(made) == 100
    assert {path.parent for path in made} == {tmp_path}
    assert all(path.name.startswith(TEMPORARY_PREFIX) and TEMPORARY_PREFIX.startswith(".") for path in made)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m", "m.n4a.py"),
        ("m.n4a", "m.n4a.py"),
        ("m.n4a.py", "m.n4a.py"),
        ("M.N4A.PY", "M.N4A.PY"),
        ("m.py", "m.py.n4a.py"),
    ],
)
def test_only_the_missing_part_of_an_extension_is_appended(name: str, expected: str) -> None:
    assert with_suffix_added(name, ".n4a.py").name == expected

"""What every place for bytes promises, whether it is a folder or memory."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from programs import run

from nirs4all_store import ArtifactCorruptError, ArtifactLinkError, ArtifactMissingError, InvalidInputError
from nirs4all_store.artifacts.artifact_files import ArtifactFiles, sha256
from nirs4all_store.artifacts.folder import FolderBlobs
from nirs4all_store.artifacts.memory import MemoryBlobs
from nirs4all_store.artifacts.store import BlobStore
from nirs4all_store.filesystem import FILE, LINK

NAME, OTHER = "ab/ab12.joblib", "cd/cd34.joblib"
Make = Callable[[], BlobStore]


PLACES: dict[str, Callable[[Path], BlobStore]] = {
    "folder": lambda empty: FolderBlobs(empty / "artifacts"),
    "memory": lambda _: MemoryBlobs(),
}


@pytest.fixture(params=PLACES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make a new place for bytes."""
    numbers = iter(range(10))
    return lambda: PLACES[request.param](tmp_path / f"blobs{next(numbers)}")


@pytest.fixture
def blobs(make: Make) -> BlobStore:
    return make()


def names(blobs: BlobStore) -> list[str]:
    return sorted(blob.name for blob in blobs.list())


def test_what_is_put_is_read(blobs: BlobStore) -> None:
    blobs.put(NAME, b"content")
    blobs.put(OTHER, b"")
    assert (blobs.read(NAME), blobs.read(OTHER)) == (b"content", b"")


def test_bytes_that_are_there_are_not_written_again_and_others_are_replaced(blobs: BlobStore) -> None:
    before = time.time()
    blobs.put(NAME, b"content")
    first = blobs.stat(NAME)
    blobs.put(NAME, b"content")
    assert blobs.stat(NAME) == first
    assert first is not None
    assert (first.name, first.kind, first.size) == (NAME, FILE, 7)
    assert before - 1 < first.written < time.time() + 1  # A file system's clock has ticks.
    blobs.put(NAME, b"other content")
    assert blobs.read(NAME) == b"other content"
    assert names(blobs) == [NAME]


def test_many_are_put_from_whatever_yields_them(blobs: BlobStore) -> None:
    blobs.put(NAME, b"damaged")
    blobs.put_many((name, content) for name, content in [(NAME, b"1"), (OTHER, b"2"), ("ab/3", b"3")])
    assert {name: blobs.read(name) for name in names(blobs)} == {NAME: b"1", "ab/3": b"3", OTHER: b"2"}
    blobs.put_many([])
    assert len(names(blobs)) == 3


@pytest.mark.parametrize("name", [NAME, "ab", "ab/other", f"{NAME}/below"])
def test_what_is_not_there_is_missing(blobs: BlobStore, name: str) -> None:
    blobs.put("ab/neighbour", b"")
    with pytest.raises(ArtifactMissingError):
        blobs.read(name)
    blob = blobs.stat(name)
    assert blob is None or blob.kind != FILE
    assert blobs.delete(name) is False
    assert names(blobs) == ["ab/neighbour"]


def test_an_empty_place_has_nothing(blobs: BlobStore) -> None:
    assert names(blobs) == []
    assert blobs.stat(NAME) is None
    assert blobs.delete(NAME) is False


def test_all_that_is_there_is_listed_as_it_stands_alone(blobs: BlobStore) -> None:
    for name in (NAME, OTHER, "top", ".quarantine/ab/ab12.joblib", "a/b/c/d/e"):
        blobs.put(name, name.encode())
    assert sorted(blobs.list()) == [blobs.stat(name) for name in names(blobs)]
    assert names(blobs) == sorted([NAME, OTHER, "top", ".quarantine/ab/ab12.joblib", "a/b/c/d/e"])


def test_what_is_listed_may_be_deleted_meanwhile(blobs: BlobStore) -> None:
    blobs.put_many((f"{number:02x}/{number}", b"") for number in range(5))
    for blob in blobs.list():
        assert blobs.delete(blob.name)
    assert names(blobs) == []


def test_a_move_takes_a_name_along_and_keeps_what_has_the_new_one(blobs: BlobStore) -> None:
    blobs.put(NAME, b"first")
    blobs.put(OTHER, b"second")
    assert blobs.move(NAME, OTHER) is False
    assert (blobs.read(NAME), blobs.read(OTHER)) == (b"first", b"second")
    assert blobs.move(NAME, ".quarantine/ab/ab12.joblib") is True
    assert blobs.read(".quarantine/ab/ab12.joblib") == b"first"
    assert names(blobs) == [".quarantine/ab/ab12.joblib", OTHER]
    with pytest.raises(ArtifactMissingError):
        blobs.move(NAME, "free")


def test_a_deleted_name_is_gone_and_may_be_put_again(blobs: BlobStore) -> None:
    blobs.put(NAME, b"content")
    assert blobs.delete(NAME) is True
    assert blobs.delete(NAME) is False
    with pytest.raises(ArtifactMissingError):
        blobs.read(NAME)
    blobs.put(NAME, b"content")
    assert blobs.read(NAME) == b"content"


def test_a_folder_says_where_the_files_are(blobs: BlobStore) -> None:
    blobs.put(NAME, b"content")
    if isinstance(blobs, MemoryBlobs):
        assert str(blobs) == "memory"
    if blobs.folder is None:
        assert str(blobs)
    else:
        assert (blobs.folder / NAME).read_bytes() == b"content"
        assert str(blobs) == str(blobs.folder)


def test_threads_that_put_one_name_all_find_it_whole(blobs: BlobStore) -> None:
    contents = [bytes([number]) * 100_000 for number in range(4)]
    together = Barrier(8)

    def work(number: int) -> bytes:
        together.wait()
        for round_ in range(5):
            blobs.put(NAME, contents[(number + round_) % 4])
            blobs.put(f"{number}/own", contents[number % 4])
        return blobs.read(NAME)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert set(found) <= set(contents)
    assert names(blobs) == sorted([NAME, *(f"{number}/own" for number in range(8))])  # And nothing half written.


def test_of_threads_that_move_one_name_one_does(blobs: BlobStore) -> None:
    blobs.put(NAME, b"content")
    together = Barrier(4)

    def work(number: int) -> bool:
        together.wait()
        try:
            return blobs.move(NAME, f"moved/{number}")
        except ArtifactMissingError:
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [False, False, False, True]
    assert len(names(blobs)) == 1


# -- the files of artifacts, wherever they are ----------------------------------------------------


@pytest.fixture
def files(blobs: BlobStore) -> ArtifactFiles:
    return ArtifactFiles(blobs)


def put(files: ArtifactFiles, content: bytes) -> str:
    return files.put(content, sha256(content), ".joblib")


def test_artifacts_are_verified_wherever_they_are(files: ArtifactFiles, blobs: BlobStore) -> None:
    name = put(files, b"content")
    assert files.read(f"./{name}", sha256(b"content")) == b"content"
    blobs.put(name, b"damaged")
    with pytest.raises(ArtifactCorruptError, match=f"{name} is damaged"):
        files.read(name, sha256(b"content"))
    assert not files.matches_own_name(name)
    assert put(files, b"content") == name
    assert files.matches_own_name(name)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\0b", "x" * 300])
def test_names_that_lead_elsewhere_are_refused_wherever_they_would(files: ArtifactFiles, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: files.read(name, sha256(b"x")),
        lambda: files.size(name),
        lambda: files.path_of(name),
        lambda: files.remove(name),
        lambda: files.quarantine(name),
        lambda: files.put(b"", sha256(b""), "", name),
        lambda: files.put_many({"before": b"", name: b""}),
        lambda: files.matches_own_name(f"{name}/{'a' * 64}"),
    ]
    for call in calls:
        with pytest.raises(ArtifactCorruptError, match="artifact path"):
            call()
    assert files.files() == []
    assert files.existing([name]) == set()


def test_quarantine_keeps_what_is_there_wherever_it_is(files: ArtifactFiles, blobs: BlobStore) -> None:
    for content in (b"first", b"second"):
        blobs.put(NAME, content)
        files.quarantine(NAME, dry_run=True)
        assert files.usage() == (1, len(content))
        files.quarantine(NAME)
        assert files.usage() == (0, 0)
    kept = {name: blobs.read(name) for name in names(blobs)}
    assert kept == {f".quarantine/{NAME}": b"first", f".quarantine/{NAME}.2": b"second"}


def test_a_copy_goes_from_anywhere_into_a_folder(files: ArtifactFiles, tmp_path: Path) -> None:
    wanted = [put(files, b"first"), put(files, b"second")]
    target = FolderBlobs(tmp_path / "copy")
    assert files.copy_to(target, [*wanted, *wanted, "gone"]) == ["gone"]
    assert [(target.folder / name).read_bytes() for name in wanted] == [b"first", b"second"]


def test_a_copy_goes_from_a_folder_to_anywhere(blobs: BlobStore, tmp_path: Path) -> None:
    source = ArtifactFiles(FolderBlobs(tmp_path / "source"))
    name = put(source, b"content")
    assert source.copy_to(blobs, [name]) == []
    assert blobs.read(name) == b"content"


def test_there_is_a_path_to_read_wherever_the_bytes_are(files: ArtifactFiles) -> None:
    name = put(files, b"content")
    path = files.path_of(name)
    assert path.read_bytes() == b"content"
    assert path.as_posix().endswith(name)
    assert files.path_of(name) == path


def test_a_name_is_found_by_its_path_wherever_it_is(files: ArtifactFiles, blobs: BlobStore) -> None:
    blobs.put(NAME, b"content")
    assert files.name_of(Path("ab") / "." / "ab12.joblib") == NAME
    for elsewhere in (Path(OTHER), Path("../x"), Path("/etc/passwd"), Path("ab"), Path("a\0b")):
        with pytest.raises(InvalidInputError, match="is no file below"):
            files.name_of(elsewhere)


def test_a_copy_for_a_path_is_there_until_the_process_ends() -> None:
    program = (
        "import os, sys\nfrom nirs4all_store.artifacts.artifact_files import ArtifactFiles\n"
        "from nirs4all_store.artifacts.memory import MemoryBlobs\nblobs = MemoryBlobs()\nblobs.put('ab/c', b'x')\n"
        "path = ArtifactFiles(blobs).path_of('ab/c')\nchild = os.fork()\nif child == 0:\n    sys.exit()\n"
        "os.waitpid(child, 0)\nprint(path, path.read_bytes() == b'x')"
    )
    path, was_there = run(program).split()
    assert was_there == "True"
    assert not Path(path).parents[1].exists()


# -- folders only ---------------------------------------------------------------------------------


def test_a_link_is_told_in_a_list_and_neither_followed_nor_used(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    blobs = FolderBlobs(tmp_path / "artifacts")
    blobs.put("ab/file", b"content")
    blobs.put("ab/other", b"other")
    (blobs.folder / "link").symlink_to(outside / "secret")
    (blobs.folder / "linked").symlink_to(outside)
    os.mkfifo(blobs.folder / "pipe")
    kinds = {blob.name: blob.kind for blob in blobs.list()}
    assert kinds == {
        "ab/file": FILE,
        "ab/other": FILE,
        "link": LINK,
        "linked": LINK,
        "pipe": "a named pipe",
    }
    for name in ("link", "linked/secret", "pipe"):
        uses: list[Callable[[], object]] = [
            lambda name=name: blobs.read(name),
            lambda name=name: blobs.stat(name),
            lambda name=name: blobs.put(name, b"x"),
            lambda name=name: blobs.put_many([(name, b"x")]),
            lambda name=name: blobs.delete(name),
            lambda name=name: blobs.move(name, "free"),
        ]
        for use in uses:
            with pytest.raises(ArtifactLinkError, match="leads out of"):
                use()
    with pytest.raises(ArtifactLinkError, match="leads out of"):
        blobs.move("ab/file", "linked/file")
    assert blobs.move("ab/file", "link") is False
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_of_many_artifacts_none_is_written_where_one_leads_through_a_link(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactLinkError, match="leads out of"):
        ArtifactFiles(blobs).put_many({NAME: b"first", "linked/second": b"second"})
    assert names(blobs) == ["linked"]


def test_a_moved_file_takes_its_name_durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FolderBlobs(tmp_path)
    blobs.put(NAME, b"content")
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), sync(descriptor)))
    blobs.move(NAME, OTHER)
    assert {(tmp_path / folder).stat().st_ino for folder in ("ab", "cd")} <= set(synced)

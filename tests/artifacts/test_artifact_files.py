"""The files of fitted objects: kept once, checked on every read, never outside their folder."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nirs4all_store import ArtifactCorruptError, ArtifactLoadError, ArtifactMissingError, InvalidInputError
from nirs4all_store.artifacts.artifact_files import ArtifactFiles, checked_hash, sha256
from nirs4all_store.artifacts.folder import FolderBlobs

NOW = datetime.now(UTC).replace(tzinfo=None)


@pytest.fixture
def blobs(tmp_path: Path) -> ArtifactFiles:
    root = tmp_path / "workspace" / "artifacts"
    root.mkdir(parents=True)
    return ArtifactFiles(FolderBlobs(root))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_bytes(b"secret")
    return path


def put(blobs: ArtifactFiles, content: bytes) -> str:
    return blobs.put(content, sha256(content), ".joblib")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_what_is_put_is_read_and_kept_once(blobs: ArtifactFiles, contents: list[bytes]) -> None:
    relatives = [put(blobs, content) for content in contents * 2]
    for relative, content in zip(relatives, contents * 2, strict=True):
        assert blobs.read(relative, sha256(content)) == content
        assert blobs.read(relative, f"sha256:{sha256(content)}") == content
    assert set(relatives) <= set(files(blobs.folder))
    assert len(set(relatives)) == len(set(contents))


def test_a_file_is_named_by_its_hash_in_a_shard_of_the_first_two_digits(blobs: ArtifactFiles) -> None:
    digits = sha256(b"content")
    assert put(blobs, b"content") == f"{digits[:2]}/{digits}.joblib"
    assert files(blobs.folder) == [f"{digits[:2]}/{digits}.joblib"]


def test_the_same_bytes_again_leave_the_file_alone(blobs: ArtifactFiles) -> None:
    path = blobs.path_of(put(blobs, b"content"))
    inode = path.stat().st_ino
    put(blobs, b"content")
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("wrong", [b"", b"conten", b"content and more"])
def test_a_file_of_the_wrong_size_is_replaced(blobs: ArtifactFiles, wrong: bytes) -> None:
    relative = put(blobs, b"content")
    blobs.path_of(relative).write_bytes(wrong)
    assert put(blobs, b"content") == relative
    assert blobs.read(relative, sha256(b"content")) == b"content"
    assert files(blobs.folder) == [relative]


def test_bytes_that_have_a_name_already_keep_it(blobs: ArtifactFiles) -> None:
    relative = blobs.put(b"content", sha256(b"content"), ".joblib", known="models/old.joblib")
    assert relative == "models/old.joblib"
    assert files(blobs.folder) == ["models/old.joblib"]


@pytest.mark.parametrize("damage", [b"", b"conten", b"contenT", b"content\0"])
def test_a_damaged_file_is_an_error_and_its_bytes_are_not_returned(blobs: ArtifactFiles, damage: bytes) -> None:
    relative = put(blobs, b"content")
    blobs.path_of(relative).write_bytes(damage)
    with pytest.raises(ArtifactCorruptError, match="is damaged"):
        blobs.read(relative, sha256(b"content"))


def test_a_missing_file_or_shard_is_an_error_that_names_the_file(blobs: ArtifactFiles) -> None:
    relative, other = put(blobs, b"content"), put(blobs, b"other")
    blobs.path_of(relative).unlink()
    blobs.remove(other)
    for gone in (relative, other):
        with pytest.raises(ArtifactMissingError, match=Path(gone).name):
            blobs.read(gone, sha256(b"content"))
    assert issubclass(ArtifactMissingError, FileNotFoundError)
    assert issubclass(ArtifactMissingError, ArtifactLoadError)


@pytest.mark.parametrize("relative", ["..", "../x", "a/../../x", "a/..", "/", "/etc/passwd", "./../x"])
def test_a_path_with_dots_or_from_the_root_is_not_followed(blobs: ArtifactFiles, relative: str) -> None:
    for call in (blobs.path_of, blobs.remove, lambda path: blobs.read(path, sha256(b""))):
        with pytest.raises(ArtifactCorruptError, match="leads out of"):
            call(relative)
    with pytest.raises(ArtifactCorruptError, match="leads out of"):
        blobs.put(b"x", sha256(b"x"), ".bin", known=relative)


def test_an_absolute_path_of_a_file_inside_is_not_followed_either(blobs: ArtifactFiles) -> None:
    inside = blobs.path_of(put(blobs, b"content"))
    with pytest.raises(ArtifactCorruptError, match="leads out of"):
        blobs.read(str(inside), sha256(b"content"))


def test_a_file_that_is_a_link_to_the_outside_is_not_followed(blobs: ArtifactFiles, secret: Path) -> None:
    relative = put(blobs, b"secret")
    blobs.path_of(relative).unlink()
    (blobs.folder / relative).symlink_to(secret)
    for call in (lambda: blobs.read(relative, sha256(b"secret")), lambda: put(blobs, b"secret")):
        with pytest.raises(ArtifactCorruptError, match="leads out of"):
            call()
    with pytest.raises(ArtifactCorruptError, match="leads out of"):
        blobs.remove(relative)
    assert secret.read_bytes() == b"secret"


def test_a_shard_that_is_a_link_to_the_outside_is_not_followed(blobs: ArtifactFiles, secret: Path) -> None:
    (blobs.folder / sha256(b"content")[:2]).symlink_to(secret.parent)
    with pytest.raises(ArtifactCorruptError, match="leads out of"):
        put(blobs, b"content")
    with pytest.raises(ArtifactCorruptError, match="leads out of"):
        blobs.read(f"{sha256(b'content')[:2]}/secret", sha256(b"secret"))
    assert files(secret.parent) == ["secret"]


def test_the_folder_itself_may_be_reached_through_a_link(blobs: ArtifactFiles, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(blobs.folder.parent)
    through = ArtifactFiles(FolderBlobs(tmp_path / "link" / "artifacts"))
    relative = put(through, b"content")
    assert blobs.read(relative, sha256(b"content")) == b"content"
    assert through.name_of(blobs.path_of(relative)) == relative


def test_only_a_file_inside_has_a_relative_path(blobs: ArtifactFiles, secret: Path) -> None:
    relative = put(blobs, b"content")
    assert blobs.name_of(Path(relative)) == relative
    assert blobs.name_of(blobs.folder / relative) == relative
    for elsewhere in (secret, blobs.folder, blobs.folder / "missing", Path("../../outside/secret")):
        with pytest.raises(InvalidInputError, match="is no file below"):
            blobs.name_of(elsewhere)


@pytest.mark.parametrize("bad", ["", "abc", "g" * 64, "a" * 63, "a" * 65, "md5:" + "a" * 64, "a" * 64 + "\n"])
def test_what_is_no_sha256_is_refused(bad: str) -> None:
    with pytest.raises(InvalidInputError, match="is no SHA-256"):
        checked_hash(bad)
    assert checked_hash("sha256:" + "AB" * 32) == "ab" * 32


def test_removing_tells_how_many_files_went_and_takes_an_empty_shard_along(blobs: ArtifactFiles) -> None:
    relative = put(blobs, b"content")
    neighbour = blobs.path_of(relative).with_name("neighbour")
    neighbour.write_bytes(b"x")
    assert blobs.remove(relative) == 1
    assert blobs.remove(relative) == 0
    assert files(blobs.folder) == [f"{relative[:2]}/neighbour"]
    assert blobs.remove(f"{relative[:2]}/neighbour") == 1
    assert list(blobs.folder.iterdir()) == []
    (blobs.folder / "top").write_bytes(b"x")
    assert blobs.remove("top") == 1
    assert blobs.folder.is_dir()


def test_strays_are_the_old_files_that_no_row_names(blobs: ArtifactFiles, secret: Path) -> None:
    kept, stray, young = put(blobs, b"kept"), put(blobs, b"stray"), put(blobs, b"young")
    leftover = blobs.folder / stray[:2] / ".writing-0123"
    leftover.write_bytes(b"half")
    (blobs.folder / "link").symlink_to(secret)
    (blobs.folder / "linked").symlink_to(secret.parent)
    old = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for path in (blobs.path_of(kept), blobs.path_of(stray), leftover):
        os.utime(path, (old, old))
    assert blobs.orphans([kept], NOW - timedelta(days=1)) == sorted([stray, f"{stray[:2]}/.writing-0123"])
    assert young in blobs.orphans([kept], NOW + timedelta(days=1))
    assert blobs.orphans([kept], NOW - timedelta(days=3)) == []


def test_a_copy_has_every_file_and_tells_which_were_missing(blobs: ArtifactFiles, tmp_path: Path) -> None:
    first, second = put(blobs, b"first"), put(blobs, b"second")
    missing = f"00/{'0' * 64}.joblib"
    assert blobs.copy_to(FolderBlobs(tmp_path / "copy"), [second, first, missing, first]) == [missing]
    assert files(tmp_path / "copy") == sorted([first, second])
    assert ArtifactFiles(FolderBlobs(tmp_path / "copy")).read(first, sha256(b"first")) == b"first"


def test_a_shard_that_is_a_link_is_refused_wherever_it_leads(blobs: ArtifactFiles) -> None:
    content_hash = sha256(b"content")
    (blobs.folder / "elsewhere").mkdir(parents=True)
    (blobs.folder / content_hash[:2]).symlink_to(blobs.folder / "elsewhere")
    with pytest.raises(ArtifactCorruptError, match="link"):
        blobs.put(b"content", content_hash, ".joblib")
    assert [*(blobs.folder / "elsewhere").iterdir()] == []


@pytest.mark.parametrize(
    "relative",
    ["a\0b", "x" * 300, "new/" + "x" * 300, "/".join(["x" * 200] * 30)],
    ids=["NUL", "long", "long below what is not there", "long as a whole"],
)
def test_a_path_that_no_file_can_have_was_an_error_of_the_system(blobs: ArtifactFiles, relative: str) -> None:
    for call in (blobs.path_of, blobs.size, blobs.remove, lambda path: blobs.read(path, sha256(b"x"))):
        with pytest.raises(ArtifactCorruptError, match="a name that no file has"):
            call(relative)
    with pytest.raises(ArtifactCorruptError, match="a name that no file has"):
        blobs.put(b"x", sha256(b"x"), ".bin", known=relative)
    assert blobs.existing([relative]) == set()
    with pytest.raises(InvalidInputError, match="is no file below"):
        blobs.name_of(Path(relative))


def test_a_hash_that_is_none_in_a_row_was_said_to_be_the_callers(blobs: ArtifactFiles) -> None:
    with pytest.raises(ArtifactCorruptError, match="is no SHA-256"):
        blobs.read(put(blobs, b"content"), "a damaged hash")


def test_a_folder_in_the_place_of_a_file_had_a_size(blobs: ArtifactFiles) -> None:
    (blobs.folder / "ab").mkdir()
    with pytest.raises(ArtifactMissingError, match="is no file"):
        blobs.size("ab")
    with pytest.raises(ArtifactMissingError, match="is not there"):
        blobs.size("cd")


def test_a_file_whose_date_is_that_of_a_copy_is_not_young(blobs: ArtifactFiles) -> None:
    own, adopted = put(blobs, b"own"), "models/old.joblib"
    blobs.put(b"adopted", sha256(b"adopted"), ".joblib", known=adopted)
    before = NOW - timedelta(days=1)
    assert blobs.is_younger(own, before)
    assert not blobs.is_younger(adopted, before)
    assert not blobs.is_younger(f"00/{'0' * 64}.joblib", before)  # It is gone.
    future = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(blobs.path_of(own), (future, future))
    assert not blobs.is_younger(own, before)


def test_what_is_in_quarantine_is_neither_counted_nor_a_stray(blobs: ArtifactFiles) -> None:
    for content in (b"first", b"second"):
        (blobs.folder / "same").write_bytes(content)
        blobs.quarantine("same")
    assert [(blobs.folder / ".quarantine" / name).read_bytes() for name in ("same", "same.2")] == [b"first", b"second"]
    assert blobs.usage() == (0, 0)
    assert blobs.orphans([], NOW + timedelta(days=1)) == []


def test_a_disk_without_hard_links_gets_copies(
    blobs: ArtifactFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relative = put(blobs, b"content")

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "this disk has no hard links")

    monkeypatch.setattr(os, "link", no_links)
    FolderBlobs(blobs.folder).link_to(tmp_path / "twin", [relative])
    assert ArtifactFiles(FolderBlobs(tmp_path / "twin")).read(relative, sha256(b"content")) == b"content"


def test_a_damaged_file_that_is_here_is_replaced_by_one_that_is_taken_over(
    blobs: ArtifactFiles, tmp_path: Path
) -> None:
    other = ArtifactFiles(FolderBlobs(tmp_path / "other"))
    relative = put(blobs, b"content")
    put(other, b"content")
    blobs.path_of(relative).write_bytes(b"damaged")
    assert FolderBlobs(blobs.folder).take(tmp_path / "other") == 1
    assert blobs.read(relative, sha256(b"content")) == b"content"


def test_a_link_among_the_files_counted_as_one(blobs: ArtifactFiles, secret: Path) -> None:
    (blobs.folder / "link").symlink_to(secret)
    assert blobs.usage() == (0, 0)
    assert blobs.orphans([], NOW + timedelta(days=1)) == []


def test_a_damaged_file_counted_as_whole_since_its_name_is_a_hash(blobs: ArtifactFiles) -> None:
    relative = put(blobs, b"content")
    assert blobs.matches_own_name(relative)
    blobs.path_of(relative).write_bytes(b"damaged")
    assert not blobs.matches_own_name(relative)

"""Files appear whole or not at all; artifacts are found by their hash and nowhere else."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nirs4all_store import ArtifactCorruptError, ArtifactMissingError, InvalidInputError, OutputPathError
from nirs4all_store.blobs import Blobs, sha256
from nirs4all_store.files import whole_file, with_suffix_added, write_whole


def test_a_file_that_fails_halfway_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "new" / "file", b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        assert write_whole(tmp_path / "file", b"x").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(mask)


def test_a_folder_is_no_output_file(tmp_path: Path) -> None:
    with pytest.raises(OutputPathError, match="it is a folder"):
        write_whole(tmp_path, b"x")
    (tmp_path / "file").touch()
    with pytest.raises(OutputPathError, match="cannot write"):
        write_whole(tmp_path / "file" / "below", b"x")


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


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    (tmp_path / "artifacts").mkdir()
    return Blobs(tmp_path / "artifacts")


def put(blobs: Blobs, content: bytes) -> str:
    return blobs.put(content, sha256(content), ".bin")


def test_bytes_are_kept_once_under_their_hash(blobs: Blobs) -> None:
    relative = put(blobs, b"content")
    made = blobs.path(relative).stat().st_mtime_ns
    assert put(blobs, b"content") == relative == f"{sha256(b'content')[:2]}/{sha256(b'content')}.bin"
    assert blobs.path(relative).stat().st_mtime_ns == made
    assert blobs.read(relative, sha256(b"content")) == b"content"


def test_a_cut_file_is_replaced_by_the_next_save_of_its_bytes(blobs: Blobs) -> None:
    relative = put(blobs, b"content")
    blobs.path(relative).write_bytes(b"con")
    put(blobs, b"content")
    assert blobs.read(relative, sha256(b"content")) == b"content"


def test_every_flipped_bit_is_found_before_anything_is_loaded(blobs: Blobs) -> None:
    content = b"some bytes"
    relative = put(blobs, content)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        blobs.path(relative).write_bytes(damaged)
        with pytest.raises(ArtifactCorruptError, match="damaged"):
            blobs.read(relative, sha256(content))
    blobs.path(relative).unlink()
    with pytest.raises(ArtifactMissingError, match="cannot be read"):
        blobs.read(relative, sha256(content))


def test_a_path_never_leads_out_of_the_folder(blobs: Blobs, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (blobs.root / "link").symlink_to(secret)
    (blobs.root / "ab").symlink_to(tmp_path)
    for relative in ("../secret", "/etc/passwd", str(secret), "x/../../secret", "link", "ab/secret"):
        with pytest.raises(ArtifactCorruptError, match="leads out"):
            blobs.read(relative, sha256(b"secret"))
        with pytest.raises(ArtifactCorruptError, match="leads out"):
            blobs.remove(relative)
    with pytest.raises(InvalidInputError):
        blobs.relative(secret)
    assert secret.read_bytes() == b"secret"


def test_removing_a_file_removes_its_empty_shard(blobs: Blobs) -> None:
    relative = put(blobs, b"content")
    assert blobs.remove(relative) == 1
    assert blobs.remove(relative) == 0
    assert list(blobs.root.iterdir()) == []


def test_strays_are_old_files_that_no_row_names(blobs: Blobs) -> None:
    kept, stray = put(blobs, b"kept"), put(blobs, b"stray")
    now = datetime.now(UTC).replace(tzinfo=None)
    assert blobs.strays({kept}, now + timedelta(minutes=1)) == [stray]
    assert blobs.strays({kept}, now - timedelta(minutes=1)) == []

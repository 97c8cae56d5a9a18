"""Coverage-guided fuzzing of what reads bundles, by hand: `python tests/fuzz_bundle.py FOLDER -max_total_time=600`.

Needs `pip install atheris`. FOLDER keeps what atheris found worth trying; it begins with sound bundles and pickles.
"""

import contextlib
import io
import pickle
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # By hand only.
import joblib
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

sys.path += [str(Path(__file__).parent / room) for room in ("artifacts", "exchange")]
with atheris.instrument_imports(include=["nirs4all_store", "zipfile", "json", "pickle"]):
    from bundles import chain_in
    from canary import listening
    from test_any_bundle import with_hashes
    from test_work_limit import ENDLESS

    from nirs4all_store import ArtifactLoadError, BundleError, UntrustedArtifactError, WorkspaceStore
    from nirs4all_store.artifacts import codecs
    from nirs4all_store.artifacts.safe_loading.pickle_scanner import UnlistableError, imported_globals
    from nirs4all_store.artifacts.safe_loading.safe_unpickler import SAFE_GLOBALS
    from nirs4all_store.exchange.bundle_loader import inspect_bundle

TRUSTED = ["sklearn.linear_model._ridge.Ridge", "sklearn.preprocessing._data.StandardScaler"]
FILE, CHAIN, MANIFEST, OBJECT = range(4)
WORK = Path(tempfile.mkdtemp())
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=12)


def sound_bundle() -> Path:
    with WorkspaceStore(WORK / "origin") as origin:
        return origin.export_chain(chain_in(origin, [Ridge().fit(X, Y)], StandardScaler().fit(X)), WORK / "sound")


SOUND = sound_bundle()
with zipfile.ZipFile(SOUND) as archive:
    MEMBERS = {name: archive.read(name) for name in archive.namelist()}


def read_file(content: bytes) -> None:
    path = WORK / "any.n4a"
    path.write_bytes(content)
    with listening(WORK):
        try:
            inspect_bundle(path)
        except BundleError:
            return


def read_member(name: str, content: bytes) -> None:
    """Read a bundle in which one member is another, and the hashes are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for member, kept in with_hashes(MEMBERS | {name: content}).items():
            made.writestr(member, kept)
    read_file(buffer.getvalue())


def read_object(content: bytes) -> None:
    for format in ("joblib", "pickle"):
        with listening(WORK, may_unpickle={*SAFE_GLOBALS, *TRUSTED}):
            with contextlib.suppress(UnlistableError):
                imported_globals(content, is_joblib=format == "joblib")
            with contextlib.suppress(ArtifactLoadError, UntrustedArtifactError):
                codecs.load(content, format, None, TRUSTED)


def one(data: bytes) -> None:
    kind, content = sum(data[:1]) % 4, data[1:]
    if kind in (CHAIN, MANIFEST):
        read_member("chain.json" if kind == CHAIN else "manifest.json", content)
    elif kind == OBJECT:
        read_object(content)
    else:
        read_file(content)


def seeds() -> dict[str, bytes]:
    found = {
        "file": bytes([FILE]) + SOUND.read_bytes(),
        "chain": bytes([CHAIN]) + MEMBERS["chain.json"],
        "manifest": bytes([MANIFEST]) + MEMBERS["manifest.json"],
    }
    for number, value in enumerate([Ridge().fit(X, Y), StandardScaler().fit(X), X, {"a": (1, 2.5, "x", None)}]):
        for protocol in (0, 2, 4):
            found[f"pickle-{number}-{protocol}"] = bytes([OBJECT]) + pickle.dumps(value, protocol)
        buffer = io.BytesIO()
        joblib.dump(value, buffer)
        found[f"joblib-{number}"] = bytes([OBJECT]) + buffer.getvalue()
    for number, opcodes in enumerate(ENDLESS.values()):
        found[f"endless-{number}"] = bytes([OBJECT]) + b"\x80\x05" + opcodes + b"."
    return found


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for name, content in seeds().items():
        (corpus / name).write_bytes(content)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()

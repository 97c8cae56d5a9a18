"""The cases of chains and artifacts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from . import bare
from .cases import Case, Side
from .world import World, Worlds, X

CHAIN = "scaler + 5 PLS folds, 200 x 1000"


def warm_replay(worlds: Worlds) -> Case:
    """Replay what was replayed before."""
    world = worlds.small
    np.testing.assert_array_equal(world.store.replay_chain(world.chain_id, X), bare.replay(world, X).ravel())
    return Case(
        "7",
        f"warm replay_chain, {CHAIN}",
        Side(lambda: world.store.replay_chain(world.chain_id, X)),
        Side(lambda: bare.replay(world, X)),
        1.2,
        rounds=15,
        calls=20,
    )


def cold_replay(worlds: Worlds) -> Case:
    """Replay once in a new store."""
    world = worlds.small
    return Case(
        "8",
        "cold replay_chain in a new store",
        Side(lambda: world.store.replay_chain(world.chain_id, X), prepare=world.reopen),
        Side(lambda: bare.load_and_replay(world, X), prepare=world.reopen),
        1.3,
        rounds=15,
    )


def new_artifact(worlds: Worlds) -> Case:
    """Save an object that is not there."""
    world = worlds.small
    return Case(
        "9a",
        "save_artifact, new",
        _registering(world, "store", 20, 20, lambda model: _save(world, model)),
        _registering(world, "bare", 20, 20, lambda model: bare.save_artifact(world, model, is_there=False)),
        1.3,
        rounds=9,
        calls=20,
    )


def known_artifact(worlds: Worlds) -> Case:
    """Save an object that is there."""
    world = worlds.small
    return Case(
        "9b",
        "save_artifact, already there",
        _registering(world, "store", 20, 0, lambda _: _save(world, world.scaler)),
        _registering(world, "bare", 20, 0, lambda _: bare.save_artifact(world, world.scaler, is_there=True)),
        1.3,
        rounds=9,
        calls=20,
    )


def _save(world: World, model: Any) -> None:
    world.store.save_artifact(model, "o", "m", "joblib")


_numbers = itertools.count(1)


def _registering(world: World, side: str, saves: int, rows: int, save: Any) -> Side:
    """Return a side that must add so many rows, and count so many saves, in a round."""
    model = world.models[0]
    found: list[tuple[int, int]] = []

    def counts() -> tuple[int, int]:
        return world.count(side, "artifacts"), world.count(side, "artifacts", "sum(ref_count)")

    def work() -> None:
        model.n_features_in_, number = 1000, next(_numbers)
        model.mark_ = number  # Other bytes each time.
        save(model)

    def prepare() -> None:
        found[:] = [counts()]

    def check() -> None:
        assert counts() == (found[0][0] + rows, found[0][1] + saves)

    return Side(work, prepare, check)

"""Fitted objects by what they were fitted on, as nirs4all names that: a hash of the steps, and one of the data.

The keys are nirs4all's own, and so is what they tell: its hash of data covers X and not y. An object that no chain
names is collected after a day, with its keys; see docs/decisions/0035.
"""

from __future__ import annotations

from typing import Any

from .adapter import Adapter


class WithArtifactCache(Adapter):
    """A workspace in which objects are found by their cache keys."""

    def save_artifact_with_cache_key(
        self,
        obj: Any,
        operator_class: str,
        artifact_type: str,
        format: str,
        chain_path_hash: str,
        input_data_hash: str,
        dataset_hash: str,
    ) -> str:
        """Save a fitted object under a cache key; return its id."""
        artifact_id = self.own.save_artifact(obj, operator_class, artifact_type, format)
        self.update_artifact_cache_key(artifact_id, chain_path_hash, input_data_hash, dataset_hash)
        return artifact_id

    def update_artifact_cache_key(
        self, artifact_id: str, chain_path_hash: str, input_data_hash: str, dataset_hash: str
    ) -> None:
        """Give a stored object a cache key."""
        self.own.add_artifact_key(_key(chain_path_hash, input_data_hash), artifact_id, {"dataset_hash": dataset_hash})

    def find_cached_artifact(self, chain_path_hash: str, input_data_hash: str) -> str | None:
        """Return the id of the newest object under a cache key, or None."""
        return self.own.artifact_of_key(_key(chain_path_hash, input_data_hash))

    def invalidate_dataset_cache(self, dataset_hash: str) -> int:
        """Forget the cache keys of a dataset; the objects stay. Return how many keys there were."""
        return self.own.delete_artifact_keys({"dataset_hash": dataset_hash})


def _key(chain_path_hash: str, input_data_hash: str) -> str:
    return f"{chain_path_hash} {input_data_hash}"

"""Fitted objects by what they were fitted on, as nirs4all names that: a hash of the steps, and one of the data.

The keys are nirs4all's own, and so is what they tell: its hash of data covers X and not y. An object that no chain
names is collected after a day, and is found no more then.
"""

from __future__ import annotations

import json
from typing import Any

from .adapter import Adapter

KIND = "nirs4all cache key"


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
        told = {"artifact_id": artifact_id, "dataset_hash": dataset_hash}
        self.own.save_result(KIND, _key(chain_path_hash, input_data_hash), told)

    def find_cached_artifact(self, chain_path_hash: str, input_data_hash: str) -> str | None:
        """Return the id of the newest object under a cache key, or None."""
        wanted = _key(chain_path_hash, input_data_hash)
        for result_id, told in self._cache_keys(wanted):
            if self.own.has_artifact(told["artifact_id"]):
                return str(told["artifact_id"])
            self.own.delete_results([result_id])
        return None

    def invalidate_dataset_cache(self, dataset_hash: str) -> int:
        """Forget the cache keys of a dataset; the objects stay. Return how many keys there were."""
        found = [result_id for result_id, told in self._cache_keys() if told["dataset_hash"] == dataset_hash]
        return self.own.delete_results(found)

    def _cache_keys(self, name: str | None = None) -> list[tuple[str, dict[str, str]]]:
        """Return the ids and documents of cache keys, newest first."""
        found = self.own.list_results(KIND)
        found = found if name is None else found.filter(name=name)
        rows = [self.own.get_result(result_id) or {} for result_id in found["result_id"]]
        return [(row["result_id"], json.loads(row["document"])) for row in rows]


def _key(chain_path_hash: str, input_data_hash: str) -> str:
    return f"{chain_path_hash} {input_data_hash}"

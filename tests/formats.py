"""Which formats of artifacts hold fitted objects."""

from nirs4all_store.artifacts.codecs import CODECS

OF_OBJECTS = [format for format in CODECS if format not in ("npz", "parquet")]
"""The others hold arrays, and frames."""

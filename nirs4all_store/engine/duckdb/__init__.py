"""DuckDB: all that knows it or its file."""

"""The tables: models, unit of work, repositories."""

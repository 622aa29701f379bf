"""Event logs: CSV, JSON lines, parquet, XES and access logs, with declared columns."""

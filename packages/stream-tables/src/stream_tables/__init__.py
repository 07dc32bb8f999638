"""Durable tables: overlay, changelog, recovery and the RocksDB store."""

from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.table import Table
from stream_tables.tables import Tables

__all__ = ["PartitionsMismatchError", "Table", "TableError", "Tables"]

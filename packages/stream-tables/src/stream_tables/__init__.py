"""Durable tables: overlay, changelog, recovery and the RocksDB store."""

from stream_tables.errors import NotAssignedError, PartitionsMismatchError, TableError, TableKeyError
from stream_tables.table import Table
from stream_tables.tables import Tables

__all__ = ["NotAssignedError", "PartitionsMismatchError", "Table", "TableError", "TableKeyError", "Tables"]

"""Bytes to objects and back: records, codecs, schemas. The only room that knows msgspec and orjson."""

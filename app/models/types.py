"""Column types shared by the models."""

from sqlalchemy import BigInteger, Integer

# PostgreSQL: 64 bits. SQLite: only INTEGER PRIMARY KEY can be AUTOINCREMENT (and is 64 bits anyway).
Id = BigInteger().with_variant(Integer, "sqlite")

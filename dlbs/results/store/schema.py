"""Current tables of the store.

Migrations repeat these columns on purpose: a released migration is frozen, while this file follows the current version.
"""

from __future__ import annotations

import sqlalchemy as sql

_METADATA = sql.MetaData()

# One row per run: its identity, and columns for searches by other programs.
runs = sql.Table(
    "runs",
    _METADATA,
    sql.Column("id", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("digest", sql.String(64), nullable=False, unique=True),
    sql.Column("exp_id", sql.String(200)),
    sql.Column("status", sql.String(20), nullable=False),
    sql.Column("model", sql.String(200)),
    sql.Column("host", sql.String(200)),
    sql.Column("device", sql.String(200)),
    sql.Column("started", sql.DateTime),
    sql.Column("throughput", sql.Float),
    sql.Column("time", sql.Float),
    sql.Column("added", sql.DateTime, nullable=False),
)

# Runs with successive numbers: `rows` of them from `first` on; `keys` are those of each run, in order, as a column.
blocks = sql.Table(
    "blocks",
    _METADATA,
    sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("rows", sql.Integer, nullable=False),
    sql.Column("keys", sql.LargeBinary, nullable=False),
)

# The values of one key in one block, compressed (`store.blocks.packed`).
values = sql.Table(
    "block_values",
    _METADATA,
    sql.Column("name", sql.String(200), primary_key=True),
    sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("data", sql.LargeBinary, nullable=False),
)

# Names that group runs, such as the version of the measured software.
tags = sql.Table(
    "tags",
    _METADATA,
    sql.Column("run", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("tag", sql.String(200), primary_key=True),
)

# One row, whose number every transaction that changes the store increments.
changes = sql.Table(
    "changes",
    _METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("number", sql.Integer, nullable=False),
)

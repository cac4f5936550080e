"""Current tables of the store.

Migrations repeat these columns on purpose: a released migration is frozen, while this file follows the current version.
"""

from __future__ import annotations

import functools

import sqlalchemy as sql


@functools.cache
def runs() -> sql.Table:
    """One row per run: its identity, and columns for searches by other programs."""
    return sql.Table(
        "runs",
        sql.MetaData(),
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


@functools.cache
def blocks() -> sql.Table:
    """Runs with successive numbers: `rows` of them from `first` on; `keys` are those of each run, in order, as a column."""
    return sql.Table(
        "blocks",
        sql.MetaData(),
        sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("rows", sql.Integer, nullable=False),
        sql.Column("keys", sql.LargeBinary, nullable=False),
    )


@functools.cache
def values() -> sql.Table:
    """The values of one key in one block, compressed (`store.blocks.packed`)."""
    return sql.Table(
        "block_values",
        sql.MetaData(),
        sql.Column("name", sql.String(200), primary_key=True),
        sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("data", sql.LargeBinary, nullable=False),
    )


@functools.cache
def tags() -> sql.Table:
    """Names that group runs, such as the version of the measured software."""
    return sql.Table(
        "tags",
        sql.MetaData(),
        sql.Column("run", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("tag", sql.String(200), primary_key=True),
    )


@functools.cache
def changes() -> sql.Table:
    """One row, whose number every transaction that changes the store increments."""
    return sql.Table(
        "changes",
        sql.MetaData(),
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("number", sql.Integer, nullable=False),
    )

"""Current tables of the store.

The first migration repeats these columns on purpose: a released migration is frozen, while this file follows the current version.
"""

from __future__ import annotations

import functools

import sqlalchemy as sql


@functools.cache
def experiments() -> sql.Table:
    """One row per run: columns for searches, and the whole record as JSON in `data`."""
    return sql.Table(
        "experiments",
        sql.MetaData(),
        sql.Column("id", sql.Integer, primary_key=True),
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
        sql.Column("data", sql.Text, nullable=False),
    )


@functools.cache
def tags() -> sql.Table:
    """Names that group runs, such as the version of the measured software."""
    return sql.Table(
        "tags",
        sql.MetaData(),
        sql.Column("experiment", sql.Integer, primary_key=True),
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

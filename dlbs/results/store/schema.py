"""The tables of the store as they are now.

The first migration repeats these columns, and must: a migration is frozen once it was released, while this file follows the present.
"""

from __future__ import annotations

import functools

import sqlalchemy as sql

__all__ = ["experiments", "tags"]


@functools.cache
def experiments() -> sql.Table:
    """One row a run. What is searched for has columns of its own; `data` is the whole record as JSON."""
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
    """Words that group runs, such as the version of what was measured."""
    return sql.Table(
        "tags",
        sql.MetaData(),
        sql.Column("experiment", sql.Integer, primary_key=True),
        sql.Column("tag", sql.String(200), primary_key=True),
    )

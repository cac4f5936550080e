"""Experiments and their tags."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "experiments",
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
    op.create_index("experiments_by_id_and_time", "experiments", ["exp_id", "started"])
    op.create_table(
        "tags",
        sql.Column("experiment", sql.Integer, sql.ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
        sql.Column("tag", sql.String(200), primary_key=True),
    )
    op.create_index("tags_by_tag", "tags", ["tag"])

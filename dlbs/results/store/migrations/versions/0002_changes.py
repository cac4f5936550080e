"""A counter of changes, by which a server sees that the store has changed, whatever was added and removed."""

from __future__ import annotations

import secrets

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its only row."""
    table = op.create_table(
        "changes",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("number", sql.Integer, nullable=False),
    )
    # Random, so that a server also sees that the store was replaced by another one.
    op.bulk_insert(table, [{"id": 1, "number": secrets.randbelow(1 << 30)}])

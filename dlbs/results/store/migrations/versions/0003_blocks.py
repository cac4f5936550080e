"""The values of runs in blocks, by key, instead of a document for each run; runs are numbered without gaps.

The tables are frozen here. The content of blocks is written by `store.blocks`, as for new runs: a later version that writes other blocks or columns
has to convert those of this one, or copy the functions; tests/results/store fails otherwise, since it migrates an old store to the newest version.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TOGETHER = 2048  # documents that are read at once


def upgrade() -> None:
    """Create the tables, fill them from the documents, and drop those."""
    op.create_table(
        "runs",
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
    op.create_index("runs_by_id_and_time", "runs", ["exp_id", "started"])
    op.create_table(
        "blocks",
        sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("rows", sql.Integer, nullable=False),
        sql.Column("keys", sql.LargeBinary, nullable=False),
    )
    op.create_table(
        "block_values",
        sql.Column("name", sql.String(200), primary_key=True),
        sql.Column("first", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("data", sql.LargeBinary, nullable=False),
    )
    op.create_index("values_by_block", "block_values", ["first"])
    op.create_table(
        "run_tags",
        sql.Column("run", sql.Integer, sql.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sql.Column("tag", sql.String(200), primary_key=True),
    )
    _fill(op.get_bind())
    op.drop_table("tags")
    op.drop_table("experiments")
    op.rename_table("run_tags", "tags")
    op.create_index("tags_by_tag", "tags", ["tag"])


def _fill(connection: sql.Connection) -> None:
    from dlbs.core.errors import LogError
    from dlbs.core.files import load_json
    from dlbs.results.runs import Runs
    from dlbs.results.store.blocks import ROWS, rows_of, without_added, write_block
    from dlbs.results.store.schema import runs as table

    old = sql.Table("experiments", sql.MetaData(), *(sql.Column(name) for name in ("id", "digest", "data")), sql.Column("added", sql.DateTime))  # fmt: skip
    waiting: list[Runs] = []
    last, first, count = None, 1, 0

    def flush() -> None:
        nonlocal waiting, first
        if waiting:
            runs = Runs.together(waiting)
            write_block(connection, first, runs)
            first += len(runs)
            waiting = []

    while True:
        asked = sql.select(old).order_by(old.c.id).limit(_TOGETHER)
        found = connection.execute(asked if last is None else asked.where(old.c.id > last)).all()
        if not found:
            break
        last = found[-1].id
        records = []
        try:
            for row in found:
                if not isinstance(row.data, str) or not isinstance(record := load_json(row.data), dict):
                    raise TypeError("not a JSON object")
                row.added.isoformat()
                records.append(record)
        except (AttributeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise LogError(
                f"experiment {count + len(records) + 1} in the store is damaged: {reason}", hint="restore a backup"
            ) from None
        runs = without_added(Runs.of(records), [row.added.isoformat(timespec="seconds") for row in found])
        rows = rows_of(1 + count, runs, [row.digest for row in found], [row.added for row in found])
        connection.execute(table.insert(), rows)
        count += len(runs)
        waiting.append(runs)
        if sum(map(len, waiting)) + _TOGETHER > ROWS:
            flush()
    flush()
    connection.execute(
        sql.text(
            "INSERT INTO run_tags (run, tag) SELECT runs.id, tags.tag FROM tags"
            " JOIN experiments ON experiments.id = tags.experiment JOIN runs ON runs.digest = experiments.digest"
        )
    )

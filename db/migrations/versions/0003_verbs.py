"""Studies can be paused, cancelled and edited; trials can be cancelled and wait before they are tried again.

SQLite cannot change a CHECK, so its table of studies is made anew. Foreign keys of trials and events point to it:
they are checked when the transaction ends, by which time every row is back under its id.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

STATES = "state IN ('active', 'paused', 'stopping', 'cancelling', 'stopped', 'cancelled', 'finished', 'failed')"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _make_studies_anew()
    else:
        _alter_studies()
    op.add_column("trial", sa.Column("cancel_at", sa.DateTime(timezone=True)))
    op.add_column("trial", sa.Column("retry_at", sa.DateTime(timezone=True)))
    op.add_column("attempt", sa.Column("process_end", sa.Text()))


def _alter_studies() -> None:
    op.drop_constraint("ck_study_state", "study", type_="check")
    op.create_check_constraint("ck_study_state", "study", STATES)
    op.add_column("study", sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("study", "revision", server_default=None)
    op.add_column("study", sa.Column("waits", sa.Text()))


def _make_studies_anew() -> None:
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE study_before AS SELECT * FROM study")
    op.drop_table("study")
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("search_space_id", sa.Integer(), nullable=False),
        sa.Column("checked", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("term", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("waits", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(STATES, name="ck_study_state"),
        sa.ForeignKeyConstraint(["search_space_id"], ["search_space.id"], name="fk_study_search_space_id"),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
        sa.UniqueConstraint("name", name="uq_study_name"),
    )
    op.create_index("ix_study_state", "study", ["state"])
    kept = (
        "id, name, state, definition, body_hash, search_space_id, checked, owner, lease_until, term, "
        "reason, created_at, finished_at"
    )
    op.execute(f"INSERT INTO study ({kept}, revision) SELECT {kept}, 0 FROM study_before")
    op.drop_table("study_before")

"""Several trials may point to one artifact, and an attempt says how its trial is trained."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("trained", sa.Text()))
    with op.batch_alter_table("artifact") as artifact:  # SQLite changes a constraint by copying the table
        artifact.drop_constraint("uq_artifact_key", type_="unique")
        artifact.create_unique_constraint("uq_artifact_key_trial_id", ["key", "trial_id"])

"""The user's code of a study comes with it: a package of Python files, shared by all studies with the same ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "code_package",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_code_package"),
    )
    reference = sa.ForeignKey("code_package.sha256", name="fk_study_code")
    in_one = op.get_bind().dialect.name == "sqlite"  # which adds no constraint to a table that is there
    op.add_column("study", sa.Column("code", sa.Text(), reference), inline_references=in_one)

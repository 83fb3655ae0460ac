"""A trial knows how many weights its model has. Of those that were over before, nobody does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("trial", sa.Column("weights", sa.BigInteger()))

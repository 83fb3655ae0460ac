"""What Alembic runs to apply steps: on the connection and in the transaction that db/schema.py opened."""

from __future__ import annotations

from alembic import context

from db.schema import VERSION_TABLE
from db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

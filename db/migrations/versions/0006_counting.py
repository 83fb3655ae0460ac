"""What a study comes to is read without a look at each of its trials.

The seconds that a study was worked on are kept by its coordinator. Of the studies that are there they are what was
reported until now: the time during which at least one attempt ran.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("study", sa.Column("active_seconds", sa.Double(), nullable=False, server_default="0"))
    seconds: dict[int, float] = {}
    until: dict[int, datetime] = {}
    for study, start, stop in op.get_bind().execute(_attempts()):
        last = until.get(study, start)
        if stop > last:
            seconds[study] = seconds.get(study, 0.0) + (stop - max(start, last)).total_seconds()
            until[study] = stop
    rows = sa.table("study", sa.column("id"), sa.column("active_seconds"))
    for key, value in seconds.items():
        op.execute(rows.update().where(rows.c.id == key).values(active_seconds=value))
    op.drop_index("ix_trial_study_id_state", "trial")
    op.create_index("ix_trial_study_id_state_value_epochs", "trial", ["study_id", "state", "value", "epochs"])


def _attempts() -> sa.Select[int, datetime, datetime]:
    """Study, begin and end of every attempt, in the order in which they began; of one that runs, its last heartbeat."""
    moment = sa.DateTime(timezone=True)
    times = [sa.column(name, moment) for name in ("started_at", "ended_at", "heartbeat_at")]
    attempt = sa.table("attempt", sa.column("trial_id"), *times)
    trial = sa.table("trial", sa.column("id"), sa.column("study_id"))
    stop = sa.func.coalesce(attempt.c.ended_at, attempt.c.heartbeat_at)
    columns = sa.select(trial.c.study_id, attempt.c.started_at, stop)
    return columns.join_from(attempt, trial, trial.c.id == attempt.c.trial_id).order_by(attempt.c.started_at)

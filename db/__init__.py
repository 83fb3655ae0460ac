"""What is remembered: tables, their state machine, and small modules of guarded statements over a session.

    engine.py          connect(url) -> Database; database.read() and database.write() yield sessions
    schema.py          create, check and upgrade the schema (migrations/ holds the steps)
    tables.py          the typed models;  types.py: how JSON, times and numbers are stored
    states.py          the state machine as one table of transitions
    failpoints.py       named points at which tests inject faults
    clock.py           the database's clock, the only one that leases are compared with
    search_spaces.py studies.py trials.py reports.py decisions.py artifacts.py models.py events.py
                       one module of functions per aggregate

SQLite and PostgreSQL behave the same behind these functions, and nothing outside this package sees SQLAlchemy
beyond the session that it hands from function to function.
"""

"""Alembic's folder: run from `drbench_db.migrate`, on a connection that is handed over; there is no alembic.ini."""

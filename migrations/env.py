"""Run by Alembic, inside the transaction that ``migrations.upgrade`` opened."""

from alembic import context

from migrations import TARGETS

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=list(TARGETS),
    transactional_ddl=True,
)
context.run_migrations()

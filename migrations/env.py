"""Entry point of Alembic: runs the migrations in the transaction that `migrations.upgrade` has begun."""

from alembic import context

from service.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
context.run_migrations()

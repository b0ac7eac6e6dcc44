"""Fine-tunes share what they have unchanged of their backbone: trunks; headers and metrics are compressed; exports"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from graft import file_header
from service.checkpoints import headers, manifests
from service.table_base import now

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

checkpoints = sa.table(
    "checkpoints",
    *(sa.column(name) for name in ("id", "bytes", "digest", "trunk_id", "head_bytes", "head_digest")),
    sa.column("header", sa.LargeBinary),
    sa.column("metrics", sa.JSON),
    sa.column("packed_metrics", sa.LargeBinary),
)
tensors = sa.table("checkpoint_tensors", *(sa.column(name) for name in ("checkpoint_id", "position", "digest")))
trunks = sa.table("trunks", sa.column("id"), sa.column("digest"), sa.column("header", sa.LargeBinary))
trunk_tensors = sa.table("trunk_tensors", *(sa.column(name) for name in ("trunk_id", "position", "digest")))
chunks = sa.table("chunks", sa.column("digest"), sa.column("seq"), sa.column("data", sa.LargeBinary))


def upgrade() -> None:
    _create_tables()
    op.add_column("checkpoints", sa.Column("packed_metrics", sa.LargeBinary(), nullable=True))
    op.add_column("checkpoints", sa.Column("head_bytes", sa.BigInteger(), nullable=True))
    op.add_column("checkpoints", sa.Column("head_digest", sa.String(64), nullable=True))
    # In SQL, since SQLite takes a foreign key with a new column, and Alembic does not write it.
    op.execute(
        "ALTER TABLE checkpoints ADD COLUMN trunk_id VARCHAR(64) "
        "CONSTRAINT fk_checkpoints_trunk_id_trunks REFERENCES trunks (id)"
    )
    op.create_index("ix_checkpoints_trunk_id", "checkpoints", ["trunk_id"])
    for checkpoint_id in _list_ids():
        _compact(checkpoint_id)
    op.drop_column("checkpoints", "metrics")
    op.create_table(
        "exports",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("checkpoint_id", sa.String(40), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("variant", sa.String(255), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("file", sa.String(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.BigInteger(), nullable=False),
        sa.Column("batches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("waits_until", sa.Double(), nullable=True),
        sa.Column("silent_worker", sa.String(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), server_default=now(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name="fk_exports_checkpoint_id_checkpoints", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_exports"),
    )
    op.create_index("ix_exports_status_exports_lease_until", "exports", ["status", "lease_until"])
    op.create_index("ix_exports_checkpoint_id_exports_variant", "exports", ["checkpoint_id", "variant"], unique=True)


def downgrade() -> None:
    op.drop_table("exports")
    op.add_column("checkpoints", sa.Column("metrics", sa.JSON(), server_default="{}", nullable=False))
    for checkpoint_id in _list_ids():
        _expand(checkpoint_id)
    op.drop_index("ix_checkpoints_trunk_id", "checkpoints")
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint("fk_checkpoints_trunk_id_trunks", "checkpoints")
        op.alter_column("checkpoints", "metrics", server_default=None)
    for name in ("trunk_id", "head_digest", "head_bytes", "packed_metrics"):
        op.drop_column("checkpoints", name)
    op.drop_table("trunk_tensors")
    op.drop_table("trunks")


def _create_tables() -> None:
    op.create_table(
        "trunks",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trunks"),
    )
    op.create_table(
        "trunk_tensors",
        sa.Column("trunk_id", sa.String(64), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["trunk_id"], ["trunks.id"], name="fk_trunk_tensors_trunk_id_trunks", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["digest"], ["tensors.digest"], name="fk_trunk_tensors_digest_tensors"),
        sa.PrimaryKeyConstraint("trunk_id", "position", name="pk_trunk_tensors"),
    )
    op.create_index("ix_trunk_tensors_digest", "trunk_tensors", ["digest"])


def _list_ids() -> list[str]:
    return list(op.get_bind().scalars(sa.select(checkpoints.c.id).order_by(checkpoints.c.id)))


def _find_digests(table: Any, key: Any, value: str) -> list[str]:
    query = sa.select(table.c.digest).where(key == value).order_by(table.c.position)
    return list(op.get_bind().scalars(query))


def _compact(checkpoint_id: str) -> None:
    """Split one checkpoint into its trunk and its own; parts of tensors that are missing stay so."""
    row = (
        op.get_bind()
        .execute(
            sa.select(checkpoints.c.bytes, checkpoints.c.digest, checkpoints.c.header, checkpoints.c.metrics).where(
                checkpoints.c.id == checkpoint_id
            )
        )
        .one()
    )
    digests = _find_digests(tensors, tensors.c.checkpoint_id, checkpoint_id)
    header = file_header.parse(bytes(row.header))
    found = manifests.describe(header, digests, row.bytes, row.digest, lambda place: _read_chunks(digests[place]))
    trunk = found.trunk
    known = op.get_bind().scalar(sa.select(trunks.c.id).where(trunks.c.id == trunk.id))
    if known is None:
        op.bulk_insert(trunks, [{"id": trunk.id, "digest": trunk.digest, "header": trunk.header}])
        op.bulk_insert(trunk_tensors, _number("trunk_id", trunk.id, found.trunk_tensors))
    op.execute(tensors.delete().where(tensors.c.checkpoint_id == checkpoint_id))
    op.bulk_insert(tensors, _number("checkpoint_id", checkpoint_id, found.tensors))
    changed = {
        "trunk_id": trunk.id,
        "header": found.header,
        "head_bytes": found.head_bytes,
        "head_digest": found.head_digest,
        "packed_metrics": zlib.compress(json.dumps(row.metrics, separators=(",", ":")).encode(), 9),
    }
    op.execute(checkpoints.update().where(checkpoints.c.id == checkpoint_id).values(changed))


def _expand(checkpoint_id: str) -> None:
    """Give one checkpoint its whole header and all of its tensors again."""
    query = sa.select(checkpoints.c.trunk_id, checkpoints.c.header, checkpoints.c.packed_metrics)
    row = op.get_bind().execute(query.where(checkpoints.c.id == checkpoint_id)).one()
    packed = op.get_bind().execute(sa.select(trunks.c.header).where(trunks.c.id == row.trunk_id)).scalar_one()
    shared, own = headers.unpack(packed), headers.unpack(row.header)
    entries = [*shared.entries, *own.entries]
    digests = [
        *_find_digests(trunk_tensors, trunk_tensors.c.trunk_id, row.trunk_id),
        *_find_digests(tensors, tensors.c.checkpoint_id, checkpoint_id),
    ]
    by_name = {entry.name: digest for entry, digest in zip(entries, digests, strict=True)}
    ordered = [by_name[entry.name] for entry in file_header.sort_entries(entries)]
    op.execute(tensors.delete().where(tensors.c.checkpoint_id == checkpoint_id))
    op.bulk_insert(tensors, _number("checkpoint_id", checkpoint_id, ordered))
    header = file_header.build(shared.metadata | own.metadata, entries)
    changed = {"header": header, "metrics": json.loads(zlib.decompress(row.packed_metrics))}
    op.execute(checkpoints.update().where(checkpoints.c.id == checkpoint_id).values(changed))


def _read_chunks(digest: str) -> Iterator[bytes]:
    seq = 0
    while True:
        query = sa.select(chunks.c.data).where(chunks.c.digest == digest, chunks.c.seq == seq)
        data = op.get_bind().scalar(query)
        if data is None:
            return
        yield data
        seq += 1


def _number(key: str, value: str, digests: Any) -> list[dict[str, Any]]:
    return [{key: value, "position": position, "digest": digest} for position, digest in enumerate(digests)]

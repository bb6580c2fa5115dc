"""first schema"""

from alembic import op
import sqlalchemy as sa

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('audit',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('at_ms', sa.BigInteger(), nullable=False),
    sa.Column('actor', sa.String(length=255), nullable=False),
    sa.Column('action', sa.String(length=64), nullable=False),
    sa.Column('subject', sa.String(length=255), nullable=False),
    sa.Column('result', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sqlite_autoincrement=True
    )
    op.create_table('contents',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('tenant_id', sa.String(length=64), server_default='', nullable=False),
    sa.Column('reference', sa.String(length=255), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.Column('attributes', sa.Text(), server_default='{}', nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('updated_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('tenant_id', 'reference', name='contents_reference_key'),
    sqlite_autoincrement=True
    )
    op.create_table('failed_jobs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uuid', sa.String(length=255), nullable=False),
    sa.Column('connection', sa.Text(), nullable=False),
    sa.Column('queue', sa.Text(), nullable=False),
    sa.Column('payload', sa.Text(), nullable=False),
    sa.Column('exception', sa.Text(), nullable=False),
    sa.Column('failed_at', sa.TIMESTAMP(), server_default=sa.text('(CURRENT_TIMESTAMP)'), nullable=True),
    sa.Column('job_type', sa.String(length=255), nullable=True),
    sa.Column('tenant_id', sa.String(length=255), nullable=True),
    sa.Column('status', sa.String(length=50), server_default='failed', nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('claim_no', sa.Integer(), server_default='0', nullable=False),
    sa.Column('round', sa.Integer(), server_default='1', nullable=False),
    sa.Column('tries', sa.Integer(), server_default='3', nullable=False),
    sa.Column('backoff', sa.String(length=255), server_default='60,300,1800', nullable=False),
    sa.Column('timeout', sa.Integer(), server_default='300', nullable=False),
    sa.Column('durable', sa.Integer(), server_default='0', nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=True),
    sa.Column('created_by', sa.String(length=255), nullable=True),
    sa.Column('deleted_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('uuid'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('failed_jobs', schema=None) as batch_op:
        batch_op.create_index('failed_jobs_bin_idx', ['deleted_at'], unique=False, sqlite_where=sa.text('deleted_at IS NOT NULL'), postgresql_where=sa.text('deleted_at IS NOT NULL'))
        batch_op.create_index('failed_jobs_open_idx', ['id'], unique=False, sqlite_where=sa.text('deleted_at IS NULL'), postgresql_where=sa.text('deleted_at IS NULL'))

    op.create_table('import_rejects',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('line', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('row', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('import_rejects', schema=None) as batch_op:
        batch_op.create_index('import_rejects_uuid_idx', ['uuid', 'line'], unique=True)

    op.create_table('import_runs',
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('row_no', sa.Integer(), nullable=False),
    sa.Column('inserted', sa.Integer(), nullable=False),
    sa.Column('updated', sa.Integer(), nullable=False),
    sa.Column('unchanged', sa.Integer(), nullable=False),
    sa.Column('rejected', sa.Integer(), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('touched_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('uuid')
    )
    op.create_table('job_batches',
    sa.Column('id', sa.String(length=255), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('total_jobs', sa.Integer(), nullable=False),
    sa.Column('pending_jobs', sa.Integer(), nullable=False),
    sa.Column('failed_jobs', sa.Integer(), nullable=False),
    sa.Column('failed_job_ids', sa.Text(), nullable=True),
    sa.Column('options', sa.Text(), nullable=True),
    sa.Column('cancelled_at', sa.Integer(), nullable=True),
    sa.Column('created_at', sa.Integer(), nullable=False),
    sa.Column('finished_at', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('job_history',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('job_type', sa.String(length=255), nullable=False),
    sa.Column('tenant_id', sa.String(length=255), nullable=True),
    sa.Column('queue', sa.String(length=255), nullable=False),
    sa.Column('status', sa.String(length=50), nullable=False),
    sa.Column('payload', sa.Text(), nullable=False),
    sa.Column('result', sa.Text(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('traceback', sa.Text(), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('claim_no', sa.Integer(), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=True),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('finished_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('uuid'),
    sqlite_autoincrement=True
    )
    op.create_table('job_logs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('claim_no', sa.Integer(), nullable=False),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('at_ms', sa.BigInteger(), nullable=False),
    sa.Column('level', sa.String(length=10), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('job_logs', schema=None) as batch_op:
        batch_op.create_index('job_logs_at_idx', ['at_ms'], unique=False)
        batch_op.create_index('job_logs_uuid_idx', ['uuid', 'id'], unique=False)

    op.create_table('job_metrics',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('job_type', sa.String(length=255), nullable=False),
    sa.Column('tenant_id', sa.String(length=255), nullable=True),
    sa.Column('status', sa.String(length=50), nullable=False),
    sa.Column('processing_time', sa.Integer(), nullable=False),
    sa.Column('memory_used', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.Column('metadata', sa.Text(), nullable=True),
    sa.Column('completed_at', sa.TIMESTAMP(), nullable=False),
    sa.Column('created_at', sa.TIMESTAMP(), server_default=sa.text('(CURRENT_TIMESTAMP)'), nullable=True),
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('round', sa.Integer(), nullable=False),
    sa.Column('claim_no', sa.Integer(), nullable=False),
    sa.Column('queue', sa.String(length=255), nullable=False),
    sa.Column('worker', sa.String(length=255), nullable=True),
    sa.Column('started_at', sa.TIMESTAMP(), nullable=True),
    sa.Column('wait_ms', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('job_metrics', schema=None) as batch_op:
        batch_op.create_index('job_metrics_claim_key', ['uuid', 'claim_no', 'status'], unique=True)
        batch_op.create_index('job_metrics_completed_idx', ['completed_at'], unique=False)
        batch_op.create_index('job_metrics_final_key', ['uuid', 'round'], unique=True, sqlite_where=sa.text("status IN ('completed', 'failed', 'timeout', 'cancelled')"), postgresql_where=sa.text("status IN ('completed', 'failed', 'timeout', 'cancelled')"))
        batch_op.create_index('job_metrics_tenant_idx', ['tenant_id'], unique=False)
        batch_op.create_index('job_metrics_type_status_idx', ['job_type', 'status'], unique=False)

    op.create_table('jobs',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('queue', sa.String(length=255), nullable=False),
    sa.Column('payload', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('reserved_at', sa.Integer(), nullable=True),
    sa.Column('available_at', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.Integer(), nullable=False),
    sa.Column('uuid', sa.String(length=36), nullable=False),
    sa.Column('state', sa.String(length=20), server_default='pending', nullable=False),
    sa.Column('job_type', sa.String(length=255), nullable=False),
    sa.Column('tenant_id', sa.String(length=255), nullable=True),
    sa.Column('rank', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('worker_id', sa.String(length=255), nullable=True),
    sa.Column('claim_no', sa.Integer(), server_default='0', nullable=False),
    sa.Column('round', sa.Integer(), server_default='1', nullable=False),
    sa.Column('failures', sa.Integer(), server_default='0', nullable=False),
    sa.Column('crashes', sa.Integer(), server_default='0', nullable=False),
    sa.Column('tries', sa.Integer(), server_default='3', nullable=False),
    sa.Column('backoff', sa.String(length=255), server_default='60,300,1800', nullable=False),
    sa.Column('timeout', sa.Integer(), server_default='300', nullable=False),
    sa.Column('durable', sa.Integer(), server_default='0', nullable=False),
    sa.Column('cancel_requested', sa.Integer(), server_default='0', nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('available_ms', sa.BigInteger(), nullable=False),
    sa.Column('reserved_ms', sa.BigInteger(), nullable=True),
    sa.Column('retry_until_ms', sa.BigInteger(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('progress_done', sa.BigInteger(), nullable=True),
    sa.Column('progress_total', sa.BigInteger(), nullable=True),
    sa.Column('progress_note', sa.String(length=500), nullable=True),
    sa.Column('created_by', sa.String(length=255), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('uuid'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.create_index('jobs_aside_idx', ['state', 'job_type'], unique=False, sqlite_where=sa.text("state IN ('held', 'blocked', 'waiting')"), postgresql_where=sa.text("state IN ('held', 'blocked', 'waiting')"))
        batch_op.create_index('jobs_claimed_idx', ['worker_id'], unique=False, sqlite_where=sa.text("state = 'processing'"), postgresql_where=sa.text("state = 'processing'"))
        batch_op.create_index('jobs_due_idx', ['available_ms'], unique=False, sqlite_where=sa.text("state = 'scheduled'"), postgresql_where=sa.text("state = 'scheduled'"))
        batch_op.create_index('jobs_queue_index', ['queue'], unique=False)
        batch_op.create_index(
            'jobs_ready_idx', ['queue', sa.text('rank DESC'), 'id'], unique=False,
            sqlite_where=sa.text("state = 'pending'"), postgresql_where=sa.text("state = 'pending'"),
        )

    op.create_table('login_attempts',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('account', sa.String(length=64), nullable=False),
    sa.Column('network', sa.String(length=64), nullable=False),
    sa.Column('at_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('login_attempts', schema=None) as batch_op:
        batch_op.create_index('login_attempts_at_idx', ['at_ms'], unique=False)
        batch_op.create_index('login_attempts_network_idx', ['network', 'at_ms'], unique=False)

    op.create_table('meta',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.Column('at_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('key')
    )
    op.create_table('queues',
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('paused_at', sa.BigInteger(), nullable=True),
    sa.Column('paused_until', sa.BigInteger(), nullable=True),
    sa.Column('paused_by', sa.String(length=255), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('name')
    )
    op.create_table('rollup_tenants',
    sa.Column('hour', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('job_type', sa.String(length=255), nullable=False),
    sa.Column('tenant_id', sa.String(length=255), nullable=False),
    sa.Column('status', sa.String(length=50), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('time_ms', sa.BigInteger(), nullable=False),
    sa.Column('wait_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('hour', 'job_type', 'tenant_id', 'status'),
    sqlite_with_rowid=False
    )
    op.create_table('rollup_types',
    sa.Column('hour', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('job_type', sa.String(length=255), nullable=False),
    sa.Column('status', sa.String(length=50), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('time_ms', sa.BigInteger(), nullable=False),
    sa.Column('wait_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('hour', 'job_type', 'status'),
    sqlite_with_rowid=False
    )
    op.create_table('uploads',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('tenant_id', sa.String(length=64), nullable=True),
    sa.Column('filename', sa.String(length=255), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('job_uuid', sa.String(length=36), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('uploads', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_uploads_job_uuid'), ['job_uuid'], unique=False)

    op.create_table('users',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('email', sa.String(length=255), nullable=False),
    sa.Column('password_hash', sa.String(length=255), nullable=False),
    sa.Column('role', sa.String(length=50), nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('disabled_ms', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('email')
    )
    op.create_table('worker_heartbeats',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('worker_name', sa.String(length=255), nullable=False),
    sa.Column('process_id', sa.Integer(), nullable=False),
    sa.Column('queue', sa.String(length=255), nullable=False),
    sa.Column('status', sa.String(length=50), nullable=False),
    sa.Column('current_job_id', sa.Integer(), nullable=True),
    sa.Column('current_job_type', sa.String(length=255), nullable=True),
    sa.Column('started_at', sa.TIMESTAMP(), nullable=False),
    sa.Column('last_heartbeat', sa.TIMESTAMP(), nullable=False),
    sa.Column('created_at', sa.TIMESTAMP(), server_default=sa.text('(CURRENT_TIMESTAMP)'), nullable=True),
    sa.Column('worker_id', sa.String(length=255), nullable=False),
    sa.Column('consumer_id', sa.String(length=255), nullable=False),
    sa.Column('host', sa.String(length=255), nullable=False),
    sa.Column('beat', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('stale', sa.Integer(), server_default='0', nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('job_uuid', sa.String(length=36), nullable=True),
    sa.Column('job_claim', sa.Integer(), nullable=True),
    sa.Column('job_since', sa.BigInteger(), nullable=True),
    sa.Column('held_uuid', sa.String(length=36), nullable=True),
    sa.Column('held_claim', sa.Integer(), nullable=True),
    sa.Column('memory', sa.BigInteger(), nullable=True),
    sa.Column('memory_start', sa.BigInteger(), nullable=True),
    sa.Column('jobs_done', sa.Integer(), server_default='0', nullable=False),
    sa.Column('code_version', sa.String(length=64), nullable=True),
    sa.Column('command', sa.String(length=20), nullable=True),
    sa.Column('stopped_ms', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('worker_id'),
    sa.UniqueConstraint('worker_name'),
    sqlite_autoincrement=True
    )
    with op.batch_alter_table('worker_heartbeats', schema=None) as batch_op:
        batch_op.create_index('worker_heartbeats_status_idx', ['status'], unique=False)

    op.create_table('user_sessions',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('token_hash', sa.String(length=64), nullable=False),
    sa.Column('user_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('created_ms', sa.BigInteger(), nullable=False),
    sa.Column('seen_ms', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('token_hash')
    )
    with op.batch_alter_table('user_sessions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_user_sessions_user_id'), ['user_id'], unique=False)



def downgrade():
    with op.batch_alter_table('user_sessions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_user_sessions_user_id'))

    op.drop_table('user_sessions')
    with op.batch_alter_table('worker_heartbeats', schema=None) as batch_op:
        batch_op.drop_index('worker_heartbeats_status_idx')

    op.drop_table('worker_heartbeats')
    op.drop_table('users')
    with op.batch_alter_table('uploads', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_uploads_job_uuid'))

    op.drop_table('uploads')
    op.drop_table('rollup_types')
    op.drop_table('rollup_tenants')
    op.drop_table('queues')
    op.drop_table('meta')
    with op.batch_alter_table('login_attempts', schema=None) as batch_op:
        batch_op.drop_index('login_attempts_network_idx')
        batch_op.drop_index('login_attempts_at_idx')

    op.drop_table('login_attempts')
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_index('jobs_queue_index')
        batch_op.drop_index('jobs_ready_idx')
        batch_op.drop_index('jobs_due_idx', sqlite_where=sa.text("state = 'scheduled'"), postgresql_where=sa.text("state = 'scheduled'"))
        batch_op.drop_index('jobs_claimed_idx', sqlite_where=sa.text("state = 'processing'"), postgresql_where=sa.text("state = 'processing'"))
        batch_op.drop_index('jobs_aside_idx', sqlite_where=sa.text("state IN ('held', 'blocked', 'waiting')"), postgresql_where=sa.text("state IN ('held', 'blocked', 'waiting')"))

    op.drop_table('jobs')
    with op.batch_alter_table('job_metrics', schema=None) as batch_op:
        batch_op.drop_index('job_metrics_type_status_idx')
        batch_op.drop_index('job_metrics_tenant_idx')
        batch_op.drop_index('job_metrics_final_key', sqlite_where=sa.text("status IN ('completed', 'failed', 'timeout', 'cancelled')"), postgresql_where=sa.text("status IN ('completed', 'failed', 'timeout', 'cancelled')"))
        batch_op.drop_index('job_metrics_completed_idx')
        batch_op.drop_index('job_metrics_claim_key')

    op.drop_table('job_metrics')
    with op.batch_alter_table('job_logs', schema=None) as batch_op:
        batch_op.drop_index('job_logs_uuid_idx')
        batch_op.drop_index('job_logs_at_idx')

    op.drop_table('job_logs')
    op.drop_table('job_history')
    op.drop_table('job_batches')
    op.drop_table('import_runs')
    with op.batch_alter_table('import_rejects', schema=None) as batch_op:
        batch_op.drop_index('import_rejects_uuid_idx')

    op.drop_table('import_rejects')
    with op.batch_alter_table('failed_jobs', schema=None) as batch_op:
        batch_op.drop_index('failed_jobs_open_idx', sqlite_where=sa.text('deleted_at IS NULL'), postgresql_where=sa.text('deleted_at IS NULL'))
        batch_op.drop_index('failed_jobs_bin_idx', sqlite_where=sa.text('deleted_at IS NOT NULL'), postgresql_where=sa.text('deleted_at IS NOT NULL'))

    op.drop_table('failed_jobs')
    op.drop_table('contents')
    op.drop_table('audit')

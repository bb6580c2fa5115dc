"""One meaning of the search: the folded text of each finished job, with an index of its trigrams where there is one.

The monitor writes the texts from the first row on; until it is through, the search reads the rows."""

import contextlib

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

OLD = (("TRIGGER", "job_search_updated"), ("TRIGGER", "job_search_deleted"), ("TABLE", "job_search"),
       ("VIEW", "job_search_rows"))
CHANGED = "INSERT INTO job_texts (id, text) VALUES (old.id, NULL) ON CONFLICT (id) DO UPDATE SET text = NULL"
TRIGGERS = (
    "CREATE TRIGGER job_texts_deleted AFTER DELETE ON job_history BEGIN DELETE FROM job_texts WHERE id = old.id; END",
    f"CREATE TRIGGER job_texts_updated AFTER UPDATE ON job_history BEGIN {CHANGED}; END")
ADD = "INSERT INTO job_search (rowid, text) VALUES (new.id, new.text)"
REMOVE = "INSERT INTO job_search (job_search, rowid, text) VALUES ('delete', old.id, old.text)"
ADD_TEXT = "INSERT INTO job_search (rowid, text) SELECT new.id, new.text WHERE new.text IS NOT NULL"
REMOVE_TEXT = ("INSERT INTO job_search (job_search, rowid, text) SELECT 'delete', old.id, old.text "
               "WHERE old.text IS NOT NULL")
# Without positions and sizes the index has half the size; the texts themselves are compared.
INDEX = (
    "CREATE VIRTUAL TABLE job_search USING fts5(text, content='job_texts', content_rowid='id', detail='none', "
    "columnsize=0, tokenize='trigram case_sensitive 1')",
    f"CREATE TRIGGER job_search_added AFTER INSERT ON job_texts WHEN new.text IS NOT NULL BEGIN {ADD}; END",
    f"CREATE TRIGGER job_search_removed AFTER DELETE ON job_texts WHEN old.text IS NOT NULL BEGIN {REMOVE}; END",
    f"CREATE TRIGGER job_search_renewed AFTER UPDATE ON job_texts BEGIN {REMOVE_TEXT}; {ADD_TEXT}; END")
OF_POSTGRES = (
    "CREATE FUNCTION job_texts_follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE' THEN "
    f"DELETE FROM job_texts WHERE id = old.id; ELSE {CHANGED}; END IF; RETURN NULL; END $$",
    "CREATE TRIGGER job_texts_follow AFTER DELETE OR UPDATE ON job_history FOR EACH ROW "
    "EXECUTE FUNCTION job_texts_follow()")
TRIGRAMS = ("CREATE EXTENSION IF NOT EXISTS pg_trgm",
            "CREATE INDEX job_texts_trigram_idx ON job_texts USING gin (text gin_trgm_ops)")
REACH = "INSERT INTO meta (key, value, at_ms) VALUES ('search_reach', '0', 0)"


def upgrade():
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table("job_texts", sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
                    sa.Column("text", sa.Text()))
    op.create_index("job_texts_stale_idx", "job_texts", ["id"], sqlite_where=sa.text("text IS NULL"),
                    postgresql_where=sa.text("text IS NULL"))
    for kind, name in OLD if sqlite else ():
        op.execute(f"DROP {kind} IF EXISTS {name}")
    op.execute("DELETE FROM meta WHERE key = 'search_reach'")
    op.execute(REACH)
    for statement in TRIGGERS if sqlite else OF_POSTGRES:
        op.execute(statement)
    # A SQLite without the trigram tokenizer (before 3.34), a server without pg_trgm, or a role that may not create it:
    # the texts are compared one by one.
    refused = sa.exc.OperationalError if sqlite else sa.exc.DBAPIError
    with contextlib.suppress(refused), op.get_bind().begin_nested():
        for statement in INDEX if sqlite else TRIGRAMS:
            op.execute(statement)


def downgrade():
    """Older code reads the rows when it finds no index."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        for name in ("job_texts_deleted", "job_texts_updated"):
            op.execute(f"DROP TRIGGER {name}")
        op.execute("DROP TABLE IF EXISTS job_search")
    else:
        op.execute("DROP TRIGGER job_texts_follow ON job_history")
        op.execute("DROP FUNCTION job_texts_follow")
    op.drop_table("job_texts")
    op.execute("DELETE FROM meta WHERE key = 'search_reach'")

"""The schema of agent.db, step by step; ``keruta_agent/core/migrations.py`` applies them."""

from __future__ import annotations

from typing import Final

from keruta_agent.core.migrations import Step, Steps, statements

_SCRIPTS: Final = (
    # 1: jobs, runs, log ranges, outbox, journal, flags
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task_id TEXT UNIQUE,
        session_id TEXT NOT NULL,
        name TEXT NOT NULL,
        priority INTEGER NOT NULL,
        filed_at REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN (
            'waiting', 'scheduled', 'running', 'failing', 'finished')),
        not_before REAL,
        not_before_boot TEXT,
        work TEXT NOT NULL,
        stop_kind TEXT,
        stop_reason TEXT,
        outcome TEXT,
        message TEXT NOT NULL DEFAULT '',
        exit_code INTEGER,
        recorded_at REAL NOT NULL,
        finished_at REAL
    );
    CREATE INDEX jobs_in_order ON jobs (state, priority DESC, filed_at, id);

    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id INTEGER NOT NULL REFERENCES jobs (id),
        number INTEGER NOT NULL,
        uid TEXT NOT NULL UNIQUE,
        token TEXT NOT NULL,
        directory TEXT NOT NULL,
        shim_pid INTEGER,
        state TEXT NOT NULL CHECK (state IN ('active', 'ended')),
        claimed_at REAL NOT NULL,
        ended_at REAL,
        stdout_offset INTEGER NOT NULL DEFAULT 0,
        stderr_offset INTEGER NOT NULL DEFAULT 0,
        agent_offset INTEGER NOT NULL DEFAULT 0,
        next_range INTEGER NOT NULL DEFAULT 0,
        progress INTEGER NOT NULL DEFAULT 0,
        progress_message TEXT NOT NULL DEFAULT '',
        reported_status TEXT,
        reported_message TEXT NOT NULL DEFAULT '',
        reported_error_code TEXT NOT NULL DEFAULT '',
        wants_auto_fix INTEGER,
        artifacts_dir TEXT,
        outcome TEXT,
        exit_code INTEGER,
        signal INTEGER,
        message TEXT NOT NULL DEFAULT '',
        stage TEXT,
        agent_failures INTEGER NOT NULL DEFAULT 0,
        UNIQUE (job_id, number)
    );
    -- One at a time is an invariant of the database, not of a worker count.
    CREATE UNIQUE INDEX one_active_run ON runs ((1)) WHERE state <> 'ended';

    CREATE TABLE log_ranges (
        run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        stream TEXT NOT NULL,
        start INTEGER NOT NULL,
        stop INTEGER NOT NULL,
        read_at REAL NOT NULL,
        PRIMARY KEY (run_id, sequence)
    ) WITHOUT ROWID;

    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task_id TEXT NOT NULL,
        run_id INTEGER REFERENCES runs (id),
        kind TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        payload TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'parked')),
        created_at REAL NOT NULL,
        batch TEXT,
        delivered_entries INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0,
        last_error TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX outbox_in_order ON outbox (state, task_id, id);

    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        job_id INTEGER NOT NULL REFERENCES jobs (id),
        run_number INTEGER,
        action TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX journal_of_job ON journal (job_id, id);

    -- What holds for the agent as a whole, such as that its queue is paused.
    CREATE TABLE flags (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    # 2: what runs use, and totals over all of them
    """
    CREATE TABLE run_usage (
        run_id INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        elapsed_s REAL NOT NULL,
        wall_s REAL,
        user_s REAL NOT NULL,
        system_s REAL NOT NULL,
        cpu_percent REAL NOT NULL,
        memory_bytes INTEGER NOT NULL,
        peak_memory_bytes INTEGER NOT NULL,
        memory_byte_s REAL NOT NULL,
        read_bytes INTEGER NOT NULL,
        write_bytes INTEGER NOT NULL,
        processes INTEGER NOT NULL,
        peak_processes INTEGER NOT NULL,
        processes_seen INTEGER NOT NULL,
        spacing_s REAL NOT NULL
    );
    CREATE TABLE run_samples (
        run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        elapsed_s REAL NOT NULL,
        cpu_percent REAL NOT NULL,
        memory_bytes INTEGER NOT NULL,
        PRIMARY KEY (run_id, elapsed_s)
    ) WITHOUT ROWID;
    CREATE TABLE counters (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
    """,
    # 3: artifacts, with what became of each
    """
    CREATE TABLE artifacts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        task_id TEXT,
        job_id INTEGER REFERENCES jobs (id),
        run_id INTEGER REFERENCES runs (id),
        path TEXT NOT NULL,
        file BLOB NOT NULL,
        is_copy INTEGER NOT NULL,
        size INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        content_type TEXT NOT NULL,
        description TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        key TEXT NOT NULL UNIQUE,
        added_at REAL NOT NULL
    );
    CREATE INDEX artifacts_of_task ON artifacts (task_id, path, id);
    CREATE INDEX artifacts_of_job ON artifacts (job_id, path, id);
    """,
    # 4: questions of scripts to people
    """
    CREATE TABLE questions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id INTEGER NOT NULL REFERENCES runs (id),
        number INTEGER NOT NULL,
        prompt TEXT NOT NULL,
        secret INTEGER NOT NULL,
        pid INTEGER NOT NULL,
        sleeps INTEGER,
        asked_at REAL NOT NULL,
        asked_boot REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'answered', 'closed')),
        answered_by TEXT,
        at_api INTEGER NOT NULL DEFAULT 0,
        api_id TEXT,
        UNIQUE (run_id, number)
    );
    CREATE UNIQUE INDEX one_question_at_a_time ON questions (run_id) WHERE state <> 'closed';
    """,
    # 5: what waits of a log that has a limit
    """
    -- 0: queued for the API; 1: waits for the end of the run; 2: left out (records/withheld.py).
    ALTER TABLE log_ranges ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    -- Counted only where held.
    ALTER TABLE log_ranges ADD COLUMN lines INTEGER NOT NULL DEFAULT 0;
    """,
    # 6: priorities that change at the API
    """
    -- As the API said it last; NULL of ad-hoc jobs, and until the next poll of older ones.
    ALTER TABLE jobs ADD COLUMN api_priority INTEGER;
    """,
    # 7: runs whose task is claimed at the API
    """
    -- 1 of older runs: they were announced to the API when they were claimed here.
    ALTER TABLE runs ADD COLUMN is_owned INTEGER NOT NULL DEFAULT 1;
    """,
    # 8: what shows how a run ended, where its script cannot write
    """
    -- SHA-256 of what proves the exit record (runs/exit_record.py); stored before a start.
    ALTER TABLE runs ADD COLUMN exit_digest TEXT;
    -- The process that looks after the script: pid, start time, boot id; and when it was asked to
    -- start it, in seconds since boot.
    ALTER TABLE runs ADD COLUMN shim TEXT;
    ALTER TABLE runs ADD COLUMN launched_at REAL;
    -- Where the run works, as JSON (workspace/checkout.py), and whether its last hook was run.
    ALTER TABLE runs ADD COLUMN place TEXT;
    ALTER TABLE runs ADD COLUMN post_hook_done INTEGER NOT NULL DEFAULT 0;
    -- The run that an agent without proofs has started goes on as it began.
    UPDATE runs SET exit_digest = 'unproved' WHERE state <> 'ended';
    """,
    # 9: what is asked of many jobs: the last that ended, and the one that has waited longest
    """
    CREATE INDEX jobs_ended ON jobs (finished_at DESC, id) WHERE state = 'finished';
    CREATE INDEX jobs_waiting_since ON jobs (recorded_at) WHERE state = 'waiting';
    """,
    # 10: what stays of ended jobs that are pruned
    """
    CREATE TABLE pruned_jobs (
        id INTEGER PRIMARY KEY,
        task_id TEXT UNIQUE,
        outcome TEXT,
        finished_at REAL NOT NULL,
        pruned_at REAL NOT NULL,
        -- 1: it never ran here; its task is queued again when the API releases it.
        may_return INTEGER NOT NULL
    );
    -- Without these, each run that goes is looked for in all of both tables.
    CREATE INDEX outbox_of_run ON outbox (run_id);
    CREATE INDEX artifacts_of_run ON artifacts (run_id);
    """,
)

MIGRATIONS: Final[Steps] = tuple(
    Step(f"{number:04}", tuple(statements(script))) for number, script in enumerate(_SCRIPTS, 1)
)

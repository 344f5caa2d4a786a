"""The events of the agent's own log: each has a stable ``action`` by which programs find it.

An action is never renamed. Beside it an event carries ids: ``job``, ``task``, ``run``, ``session``
or ``pid``, as far as it is about one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ACTIONS: Final[Mapping[str, str]] = {
    # The agent
    "agent_ready": "The daemon takes tasks from now on.",
    "file_removed": "A file that the agent uses was removed under it; it starts itself anew.",
    "base_removed": "The agent's whole directory was removed under it; it stops.",
    "agent_replaced": "It puts a new image of the program in its place (SIGHUP).",
    "agent_stopped": "It has ended; what it has not told the API waits for the next one.",
    "agent_failed": "The agent itself failed at a job; it takes it up again, three times at most.",
    "stopping": "It was asked to stop and finishes the running job.",
    "stopping_job": "It was asked again, or waited too long, and stops the running job.",
    "leaving": "It was asked a third time and leaves at once; the script runs on.",
    "outbox_left": "It ended with messages that the API could not be told.",
    "settings_unreadable": "The settings cannot be read again, for a renewed token.",
    "keep_awake_failed": "The keep-awake hook failed: the workspace may stop while a script runs.",
    "notify_failed": "The service manager cannot be told how the daemon is.",
    "log_reopened": "Somebody moved the log file away (SIGUSR1): this is the new one.",
    "log_unopened": "The log file cannot be opened anew; the next line tries again.",
    "http_started": "The daemon's HTTP API listens.",
    "token_made": "A token for the HTTP API was made up; the message says where it is.",
    "socket_failed": "A connection on the unix socket broke the agent's code.",
    "request_failed": "A request on the unix socket broke the agent's code.",
    # The session and its tasks
    "no_api": "No API is configured: only ad-hoc scripts run.",
    "session_resolved": "It is known which session is served.",
    "session_unresolved": "The API cannot be asked which session is served; tried again.",
    "writes_refused": "The API can be read but takes no reports: none of its tasks start.",
    "writes_arrive": "It takes reports now.",
    "api_moved": "The API has moved for good; where KERUTA_API_URL should lead now.",
    "session_paused": "The session is PAUSED: what runs goes on, nothing else is started.",
    "session_resumed": "It is not PAUSED any more.",
    "session_ended": "The session has ended, or is gone: no more tasks are taken.",
    "poll_failed": "The API cannot be asked for tasks; tried again at each poll.",
    "poll_recovered": "It can be asked again.",
    "task_recorded": "A task of the session has become a job.",
    "unasked": "It cannot be asked whether a task is still wanted; it is gone on with.",
    "script_unread": "A task's script cannot be read anew; it runs as it was filed.",
    "answer_skipped": "A part of a list from the API makes no sense and is left out.",
    # Runs
    "run_started": "A script was started.",
    "run_ended": "A run has come to its end, with its outcome.",
    "run_found": "A run was active when the last agent ended.",
    "run_found_on_disk": "A run directory is there that the records do not know.",
    "run_adopted": "A script that an earlier daemon started is followed.",
    "runs_removed": "Directories of old runs were removed to make room.",
    "run_left_behind": "The directory of an old run cannot be removed, and why.",
    "message_unreadable": "A script told the agent something that makes no sense.",
    "retry_scheduled": "A failed job is tried again, and when.",
    "retry_rule_wrong": "A failed job is not tried again: its rule makes no sense.",
    "auto_fix_declined": "A failed task gets no auto-fix task.",
    "no_spare": "No process could be started ahead of the next run, which costs it some time.",
    "no_room": "The disk takes nothing, full or broken: what is to be stored waits.",
    "room_found": "The disk takes something again.",
    # The session's repository
    "workspace": "Something was done to the repository for a run, as the run's log tells it.",
    "section_unwritten": "What was done to it cannot be told in the run's log.",
    "section_unread": "The run's log cannot be read while the repository is worked on.",
    # Input
    "input_requested": "A script waits for an answer.",
    "input_answered": "It was given one.",
    "input_refused": "An answer from the API cannot be used.",
    "question_untold": "The API cannot be told of a question.",
    "answers_unsupported": "The API has no route for answers.",
    "answers_failed": "Answers cannot be looked for now; tried again.",
    # Artifacts
    "artifact_left_out": "A file is not taken as an artifact, and why.",
    "artifact_not_copied": "There is no room for a copy of an artifact.",
    "artifact_was_written_to": "An artifact grew while it was taken.",
    "artifact_unreadable": "A file cannot be taken as an artifact.",
    "artifact_stays_here": "The API has no place for an artifact; it stays listed here.",
    "git_settings_changed": "The user's git settings were changed since the start: ignored.",
    "git_settings_unreadable": "A file of the user's git settings cannot be read: left out.",
    "git_setting_removed": "A setting that a task may have made was taken out of a clone.",
    "exclude_failed": "The artifacts directory cannot be kept out of git's commits.",
    # Telling the API
    "api_away": "The API cannot be told anything now; everything is kept and sent later.",
    "api_back": "It answers again.",
    "api_broke": "The API failed at one message; it is sent again.",
    "api_refused": "The API refuses a message for good; it is set aside.",
    "api_lacks": "The API has no place for a kind of message.",
    "server_lacks": "The API lacks something that the agent can do without.",
    "status_name_switched": "The API calls a running task by its other name.",
    # The queue
    "queue_failed": "Work of the agent itself cannot be queued now; tried again.",
    "queue_damaged": "A queue's file is damaged and was made anew; no job is lost.",
    "message_dropped": "A message in a queue makes no sense; no job is lost.",
    # The embedded server
    "server_started": "keruta server listens.",
    "server_stopped": "It has ended.",
    "server_connection": "Something about a connection, in the words of the HTTP library.",
    "server_database_awaited": "The server's database takes no connections yet; tried again.",
    "server_storage_failed": "The server's database failed; the request was answered with 503.",
    # The services around the Agent Runner, and its clients
    "slot_lent": "The Repo Pool Manager lends a slot.",
    "slot_expired": "It took a slot back, because its holder gave no sign of life.",
    "slot_discarded": "A slot could not be made clean; its clone is made anew.",
    "slot_left_behind": "Something of a slot could not be removed or cleaned; it is tried again.",
    "runner_artifact_failed": "Evidence of a coding task could not be stored.",
    "runner_broke": "A coding task ended by a bug.",
    "runner_heartbeat_failed": "The pool could not be told that a slot is still in use.",
    "runner_service_away": "A service of the runner does not answer, or is not well.",
    "runner_service_retry": "A request to a service of the runner failed and is sent again.",
    "server_request_failed": "The server's code broke at a request.",
    "server_events_lost": "An event for listeners could not be stored.",
}

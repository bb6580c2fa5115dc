-- A database of revision 0006 as the code of that revision fills it: a job of every state (its name stands in created_by), workers
-- at work and stopped, a type and a queue that are paused, a budget that is spent. Both kinds of database got the same rows.

INSERT INTO audit (id, at_ms, actor, action, subject, result) VALUES
(1, 1795685274230, 'ada@example.org', 'delete', 'fb4ca679-9052-4379-aebf-d1d85a9da45a', 'done'),
(2, 1795685274382, 'ada@example.org', 'hold', '672857a1-3572-464e-9b90-48b29a804c5f', 'done'),
(3, 1795685274401, 'ada@example.org', 'hold', 'e0be661d-e2e2-4d6b-ab89-245ee73d335c', 'done'),
(4, 1795685274415, 'ada@example.org', 'hold', 'b6489eec-c310-49fa-87e2-f29c05647409', 'done');

INSERT INTO failed_jobs (id, uuid, connection, queue, payload, exception, failed_at, job_type, tenant_id, status, error, claim_no, round, tries, backoff, timeout, durable, created_ms, created_by, deleted_at) VALUES
(1, '724e123d-8993-4434-8a4b-b5622a15b7a8', 'sqlite', 'default', '{"uuid": "724e123d-8993-4434-8a4b-b5622a15b7a8", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 'Traceback', '2026-11-26 09:27:54.171000', 'TestNoop', NULL, 'failed', 'ValueError: x', 1, 1, 1, '0', 300, 0, 1795685274133, 'failed', NULL),
(2, '9285eca5-2484-4bf7-b5de-e779d4bfcd71', 'sqlite', 'default', '{"uuid": "9285eca5-2484-4bf7-b5de-e779d4bfcd71", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 'timeout after 300 s', '2026-11-26 09:27:54.185000', 'TestNoop', NULL, 'timeout', 'timeout after 300 s', 1, 1, 1, '0', 300, 0, 1795685274171, 'timed out', NULL),
(3, 'fb4ca679-9052-4379-aebf-d1d85a9da45a', 'sqlite', 'default', '{"uuid": "fb4ca679-9052-4379-aebf-d1d85a9da45a", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 'Traceback', '2026-11-26 09:27:54.192000', 'TestNoop', NULL, 'failed', 'ValueError: y', 1, 1, 1, '0', 300, 0, 1795685274185, 'in the bin', 1795685274229),
(4, 'fcc8fa3f-40c1-42ef-85c1-f4419a29a9a6', 'sqlite', 'default', '{"uuid": "fcc8fa3f-40c1-42ef-85c1-f4419a29a9a6", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "acme", "queue": "default"}', 'Traceback', '2026-11-26 09:27:54.300000', 'ProcessContentGeneration', 'acme', 'failed', 'ValueError: x', 1, 1, 1, '60,300,1800', 300, 1, 1795685274294, 'fair failed', NULL);

INSERT INTO job_costs (id, uuid, job_type, tenant_id, model, at_ms, tokens_in, tokens_cached, tokens_out, cost_nano, currency) VALUES
(1, 'u-paid', 'ProcessContentGeneration', 'acme', 'gpt', 1795685274276, 1, 0, 1, 2000000000, 'USD');

INSERT INTO job_history (id, uuid, job_type, tenant_id, queue, status, payload, result, error, traceback, attempts, tries, claim_no, round, created_by, created_ms, finished_ms) VALUES
(1, '724e123d-8993-4434-8a4b-b5622a15b7a8', 'TestNoop', NULL, 'default', 'failed', '{"uuid": "724e123d-8993-4434-8a4b-b5622a15b7a8", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', NULL, 'ValueError: x', 'Traceback', 1, 1, 1, 1, 'failed', 1795685274133, 1795685274171),
(2, '9285eca5-2484-4bf7-b5de-e779d4bfcd71', 'TestNoop', NULL, 'default', 'timeout', '{"uuid": "9285eca5-2484-4bf7-b5de-e779d4bfcd71", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', NULL, 'timeout after 300 s', NULL, 1, 1, 1, 1, 'timed out', 1795685274171, 1795685274185),
(3, 'fb4ca679-9052-4379-aebf-d1d85a9da45a', 'TestNoop', NULL, 'default', 'failed', '{"uuid": "fb4ca679-9052-4379-aebf-d1d85a9da45a", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', NULL, 'ValueError: y', 'Traceback', 1, 1, 1, 1, 'in the bin', 1795685274185, 1795685274192),
(4, 'c9b92b28-16d7-4175-af8b-aaf8d4ac1d16', 'TestNoop', NULL, 'default', 'completed', '{"uuid": "c9b92b28-16d7-4175-af8b-aaf8d4ac1d16", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', '{}', NULL, NULL, 1, 3, 1, 1, 'completed', 1795685274246, 1795685274252),
(5, 'fcc8fa3f-40c1-42ef-85c1-f4419a29a9a6', 'ProcessContentGeneration', 'acme', 'default', 'failed', '{"uuid": "fcc8fa3f-40c1-42ef-85c1-f4419a29a9a6", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "acme", "queue": "default"}', NULL, 'ValueError: x', 'Traceback', 1, 1, 1, 1, 'fair failed', 1795685274294, 1795685274300);

INSERT INTO job_metrics (id, job_type, tenant_id, status, processing_time, attempts, error_message, completed_at, created_at, uuid, round, claim_no, queue, worker, started_at, wait_ms) VALUES
(1, 'TestNoop', NULL, 'failed', 0, 1, 'ValueError: x', '2026-11-26 09:27:54.171000', '2026-11-26 09:27:54.171000', '724e123d-8993-4434-8a4b-b5622a15b7a8', 1, 1, 'default', 'w', '2026-11-26 09:27:54.170000', 37),
(2, 'TestNoop', NULL, 'timeout', 0, 1, 'timeout after 300 s', '2026-11-26 09:27:54.185000', '2026-11-26 09:27:54.185000', '9285eca5-2484-4bf7-b5de-e779d4bfcd71', 1, 1, 'default', 'w', '2026-11-26 09:27:54.185000', 14),
(3, 'TestNoop', NULL, 'failed', 0, 1, 'ValueError: y', '2026-11-26 09:27:54.192000', '2026-11-26 09:27:54.192000', 'fb4ca679-9052-4379-aebf-d1d85a9da45a', 1, 1, 'default', 'w', '2026-11-26 09:27:54.192000', 7),
(4, 'TestNoop', NULL, 'completed', 0, 1, NULL, '2026-11-26 09:27:54.252000', '2026-11-26 09:27:54.252000', 'c9b92b28-16d7-4175-af8b-aaf8d4ac1d16', 1, 1, 'default', 'w', '2026-11-26 09:27:54.252000', 6),
(5, 'TestNoop', NULL, 'retried', 0, 1, 'ValueError: z', '2026-11-26 09:27:54.268000', '2026-11-26 09:27:54.268000', 'b55173e7-31ad-406c-a38b-6aaa3f92a940', 1, 1, 'default', 'w', '2026-11-26 09:27:54.268000', 9),
(6, 'ProcessContentGeneration', 'acme', 'failed', 0, 1, 'ValueError: x', '2026-11-26 09:27:54.300000', '2026-11-26 09:27:54.300000', 'fcc8fa3f-40c1-42ef-85c1-f4419a29a9a6', 1, 1, 'default', 'w', '2026-11-26 09:27:54.300000', 6);

INSERT INTO jobs (id, queue, payload, attempts, reserved_at, available_at, created_at, uuid, state, job_type, tenant_id, rank, worker_id, claim_no, round, failures, crashes, tries, backoff, timeout, durable, cancel_requested, created_ms, available_ms, reserved_ms, retry_until_ms, reason, created_by) VALUES
(5, 'default', '{"uuid": "677f9edc-efb0-46ed-b70c-90536bd80e08", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, '677f9edc-efb0-46ed-b70c-90536bd80e08', 'blocked', 'TestNoop', NULL, 0, NULL, 1, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274253, 1795685274259, NULL, 1795771674253, 'The arguments no longer fit TestNoop: x Edit and retry, or delete the job.', 'blocked'),
(6, 'default', '{"uuid": "b55173e7-31ad-406c-a38b-6aaa3f92a940", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 1, NULL, 1795688874, 1795685274, 'b55173e7-31ad-406c-a38b-6aaa3f92a940', 'scheduled', 'TestNoop', NULL, 0, NULL, 1, 1, 1, 0, 3, '3600', 300, 0, 0, 1795685274259, 1795688874268, NULL, 1795771674259, 'ValueError: z', 'retried'),
(7, 'default', '{"uuid": "e8264f5d-764e-4a74-8860-0a43c34d6cf0", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, 'e8264f5d-764e-4a74-8860-0a43c34d6cf0', 'held', 'TestNoop', NULL, 0, NULL, 1, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274269, 1795685274276, NULL, 1795771674269, 'Waits for a decision.', 'held by its job'),
(8, 'default', '{"uuid": "fff2c91f-14dc-4359-9e00-589c837d3171", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "acme", "queue": "default"}', 0, NULL, 1795685274, 1795685274, 'fff2c91f-14dc-4359-9e00-589c837d3171', 'held', 'ProcessContentGeneration', 'acme', -1, NULL, 1, 1, 0, 0, 3, '60,300,1800', 300, 1, 0, 1795685274277, 1795685274284, NULL, 1795771674277, 'The monthly budget of acme is spent (2.00 of 1.00 USD).', 'held by budget'),
(10, 'high', '{"uuid": "4367e502-2dee-419f-a528-b427759476e7", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "high"}', 1, 1795685274, 1795685274, 1795685274, '4367e502-2dee-419f-a528-b427759476e7', 'processing', 'TestNoop', NULL, 0, '0aaaaaaa-1-4194305-7-wa', 1, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274306, 1795685274306, 1795685274316, 1795771674306, 'Over its time limit.', 'over its time'),
(11, 'high', '{"uuid": "177b36f2-bc2a-4d2e-b028-3519a70e498a", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "high"}', 1, 1795685274, 1795685274, 1795685274, '177b36f2-bc2a-4d2e-b028-3519a70e498a', 'processing', 'TestNoop', NULL, 0, '0aaaaaaa-1-4194305-7-wb', 1, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274317, 1795685274317, 1795685274324, 1795771674317, NULL, 'running'),
(12, 'default', '{"uuid": "89428168-99c1-4f0c-9f12-26371f957b8f", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "acme", "queue": "default"}', 0, NULL, 1795685274, 1795685274, '89428168-99c1-4f0c-9f12-26371f957b8f', 'pending', 'ProcessContentGeneration', 'acme', -2, NULL, 0, 1, 0, 0, 3, '60,300,1800', 300, 1, 0, 1795685274326, 1795685274326, NULL, 1795771674326, NULL, 'fair acme 1'),
(13, 'default', '{"uuid": "40852ee8-dbad-4f06-9aec-bad3f5e47e49", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "acme", "queue": "default"}', 0, NULL, 1795685274, 1795685274, '40852ee8-dbad-4f06-9aec-bad3f5e47e49', 'pending', 'ProcessContentGeneration', 'acme', -3, NULL, 0, 1, 0, 0, 3, '60,300,1800', 300, 1, 0, 1795685274336, 1795685274336, NULL, 1795771674336, NULL, 'fair acme 2'),
(14, 'default', '{"uuid": "23589111-ec47-46a3-8ab4-9d26c750e005", "displayName": "ProcessContentGeneration", "args": {"prompt": "p"}, "tenant_id": "beta", "queue": "default"}', 0, NULL, 1795685274, 1795685274, '23589111-ec47-46a3-8ab4-9d26c750e005', 'pending', 'ProcessContentGeneration', 'beta', -2, NULL, 0, 1, 0, 0, 3, '60,300,1800', 300, 1, 0, 1795685274344, 1795685274344, NULL, 1795771674344, NULL, 'fair beta'),
(15, 'default', '{"uuid": "f2fc4494-cbb5-4a3f-85db-e4fcf15cd801", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795688874, 1795685274, 'f2fc4494-cbb5-4a3f-85db-e4fcf15cd801', 'scheduled', 'TestNoop', NULL, 0, NULL, 0, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274356, 1795688874356, NULL, 1795771674356, NULL, 'later'),
(16, 'default', '{"uuid": "aadfcd14-d479-4639-bbfa-158d3c94f328", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, 'aadfcd14-d479-4639-bbfa-158d3c94f328', 'pending', 'TestNoop', NULL, 0, NULL, 0, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274364, 1795685274364, NULL, 1795771674364, NULL, 'pending'),
(17, 'default', '{"uuid": "672857a1-3572-464e-9b90-48b29a804c5f", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, '672857a1-3572-464e-9b90-48b29a804c5f', 'held', 'TestNoop', NULL, 0, NULL, 0, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274368, 1795685274368, NULL, 1795771674368, 'Held by ada@example.org.', 'held by a person'),
(18, 'default', '{"uuid": "e0be661d-e2e2-4d6b-ab89-245ee73d335c", "displayName": "TestNoop", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795688874, 1795685274, 'e0be661d-e2e2-4d6b-ab89-245ee73d335c', 'held', 'TestNoop', NULL, 0, NULL, 0, 1, 0, 0, 3, '0', 300, 0, 0, 1795685274393, 1795688874393, NULL, 1795771674393, 'Held by ada@example.org.', 'scheduled and held'),
(19, 'default', '{"uuid": "b6489eec-c310-49fa-87e2-f29c05647409", "displayName": "TestEcho", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, 'b6489eec-c310-49fa-87e2-f29c05647409', 'held', 'TestEcho', NULL, 0, NULL, 0, 1, 0, 0, 1, '60,300,1800', 300, 0, 0, 1795685274412, 1795685274412, NULL, 1795771674412, 'Held by ada@example.org.', 'its type and a person'),
(20, 'default', '{"uuid": "8b18dd8f-f9e5-48de-a20b-a32ada4a8fb7", "displayName": "TestEcho", "args": {}, "tenant_id": null, "queue": "default"}', 0, NULL, 1795685274, 1795685274, '8b18dd8f-f9e5-48de-a20b-a32ada4a8fb7', 'held', 'TestEcho', NULL, 0, NULL, 0, 1, 0, 0, 1, '60,300,1800', 300, 0, 0, 1795685274428, 1795685274428, NULL, 1795771674428, 'Its type is paused.', 'its type 1'),
(21, 'low', '{"uuid": "eed934f0-5d50-4c28-8cb7-9d7d024d29cf", "displayName": "TestEcho", "args": {}, "tenant_id": null, "queue": "low"}', 0, NULL, 1795685274, 1795685274, 'eed934f0-5d50-4c28-8cb7-9d7d024d29cf', 'held', 'TestEcho', NULL, 0, NULL, 0, 1, 0, 0, 1, '60,300,1800', 300, 0, 0, 1795685274440, 1795685274440, NULL, 1795771674440, 'Its type is paused.', 'its type 2');

INSERT INTO queues (name, paused_at, paused_by, reason) VALUES
('low', 1795685274446, 'ada@example.org', NULL),
('type:TestEcho', 1795685274446, 'ada@example.org', 'why');

INSERT INTO rollup_tenants (hour, job_type, tenant_id, status, count, time_ms, wait_ms) VALUES
(1795683600000, 'ProcessContentGeneration', 'acme', 'failed', 1, 0, 6),
(1795683600000, 'TestNoop', '', 'completed', 1, 0, 6),
(1795683600000, 'TestNoop', '', 'failed', 2, 0, 44),
(1795683600000, 'TestNoop', '', 'retried', 1, 0, 9),
(1795683600000, 'TestNoop', '', 'timeout', 1, 0, 14);

INSERT INTO rollup_types (hour, job_type, status, count, time_ms, wait_ms) VALUES
(1795683600000, 'ProcessContentGeneration', 'failed', 1, 0, 6),
(1795683600000, 'TestNoop', 'completed', 1, 0, 6),
(1795683600000, 'TestNoop', 'failed', 2, 0, 44),
(1795683600000, 'TestNoop', 'retried', 1, 0, 9),
(1795683600000, 'TestNoop', 'timeout', 1, 0, 14);

INSERT INTO tenant_budgets (tenant_id, month_nano, currency, hold) VALUES
('acme', 1000000000, 'USD', 1);

INSERT INTO worker_heartbeats (id, worker_name, process_id, queue, status, current_job_id, current_job_type, started_at, last_heartbeat, created_at, worker_id, consumer_id, host, beat, stale, reason, job_uuid, job_claim, job_since, memory, memory_start, jobs_done, code_version, stopped_ms) VALUES
(1, 'wa', 4194305, 'high,default,low', 'active', 10, 'TestNoop', '2026-11-26 09:27:54.305000', '2026-11-26 09:27:54.316000', '2026-11-26 09:27:54.305000', '0aaaaaaa-1-4194305-7-wa', '0aaaaaaa-1-2-3-c', 'old', 0, 0, NULL, '4367e502-2dee-419f-a528-b427759476e7', 1, 1795685274316, 107302912, 107302912, 3, 'code', NULL),
(2, 'wb', 4194305, 'high,default,low', 'active', 11, 'TestNoop', '2026-11-26 09:27:54.306000', '2026-11-26 09:27:54.324000', '2026-11-26 09:27:54.306000', '0aaaaaaa-1-4194305-7-wb', '0aaaaaaa-1-2-3-c', 'old', 0, 0, NULL, '177b36f2-bc2a-4d2e-b028-3519a70e498a', 1, 1795685274324, 107307008, 107307008, 4, 'code', NULL),
(3, 'by hand', 4194305, 'high,default,low', 'stopped', NULL, NULL, '2026-11-26 09:27:54.325000', '2026-11-26 09:27:54.325000', '2026-11-26 09:27:54.325000', '0aaaaaaa-1-4194305-7-by hand', '0aaaaaaa-1-2-3-c', 'old', 0, 0, 'stopped by hand', NULL, NULL, NULL, 107417600, 107417600, 0, 'code', 1795685274325),
(4, 'recycled', 4194305, 'high,default,low', 'stopped', NULL, NULL, '2026-11-26 09:27:54.325000', '2026-11-26 09:27:54.326000', '2026-11-26 09:27:54.325000', '0aaaaaaa-1-4194305-7-recycled', '0aaaaaaa-1-2-3-c', 'old', 0, 0, 'restarted by hand', NULL, NULL, NULL, 107483136, 107483136, 0, 'code', 1795685274326);

-- Collection takes turns: versions by size, ended uploads by id, deletes by node.

DROP INDEX versions_retired;
CREATE INDEX versions_retired ON versions(retired_ms) WHERE state = 2;
CREATE INDEX versions_smallest ON versions(chunk_count) WHERE state = 3;
CREATE INDEX versions_oldest ON versions(id) WHERE state = 3;
DROP INDEX uploads_ending;
CREATE INDEX uploads_ended ON uploads(id) WHERE state >= 2;
DROP INDEX doomed_to_delete;
CREATE INDEX doomed_to_delete ON doomed(node, retry_ms, since_ms) WHERE guard = 0;

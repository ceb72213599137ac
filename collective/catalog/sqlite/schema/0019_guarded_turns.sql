-- Copies that were given up are settled by node in turns.
DROP INDEX doomed_guarded;
CREATE INDEX doomed_guarded ON doomed(node, retry_ms) WHERE guard > 0;

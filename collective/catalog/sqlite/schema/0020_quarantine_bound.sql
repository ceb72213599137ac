-- Quarantined copies have rows on approved nodes alone, and so many over all nodes; of others there is a figure.

ALTER TABLE nodes ADD COLUMN unlisted_bytes INTEGER NOT NULL DEFAULT 0; -- told by the last inventory, quarantined without a row

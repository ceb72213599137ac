-- Open uploads are checked again after a node was removed, refused or doubted.

ALTER TABLE state ADD COLUMN trust_epoch INTEGER NOT NULL DEFAULT 0; -- rises with every such node
ALTER TABLE uploads ADD COLUMN checked_epoch INTEGER NOT NULL DEFAULT 0; -- at which its extents were checked
ALTER TABLE uploads ADD COLUMN checking_epoch INTEGER NOT NULL DEFAULT 0;-- of the check under way
ALTER TABLE uploads ADD COLUMN checked_to INTEGER NOT NULL DEFAULT 0;    -- offset up to which that one has come

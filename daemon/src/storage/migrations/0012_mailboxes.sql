-- Whether the caller has marked a message urgent by a key.
ALTER TABLE voicemails ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0 CHECK (urgent IN (0, 1));
-- Whose mailbox it is in; NULL: the office's.
ALTER TABLE voicemails ADD COLUMN mailbox TEXT;

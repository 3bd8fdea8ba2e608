-- Which recordings the cloud has. Not in the change log: it is about the cloud.

-- One line for each content that is done with.
CREATE TABLE blob_uploads (
    sha256   TEXT NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
    place    TEXT NOT NULL,                                           -- which cloud it is about, and which of its boxes
    state    TEXT NOT NULL CHECK (state IN ('kept', 'refused', 'lost')),
    reason   TEXT,                                                    -- NULL: it is kept
    noted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER recordings_upload_forgotten AFTER DELETE ON recordings
WHEN NOT EXISTS (SELECT 1 FROM recordings WHERE sha256 = OLD.sha256) BEGIN
    DELETE FROM blob_uploads WHERE sha256 = OLD.sha256;
END;

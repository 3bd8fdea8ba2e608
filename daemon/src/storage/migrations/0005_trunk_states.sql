-- What `offhook status` shows of the trunks. Not in the change log: it is outdated within minutes.
CREATE TABLE trunk_states (
    trunk      TEXT PRIMARY KEY,                     -- its name in the configuration
    answers    INTEGER CHECK (answers IN (0, 1)),    -- NULL: not known, because nobody has asked
    registered INTEGER CHECK (registered IN (0, 1)), -- NULL: it does not want registrations
    changed_at INTEGER NOT NULL                      -- when one of the two became another
) STRICT;

-- What an extension has dialled about its own calls: silent phones, or calls that go elsewhere. A restart keeps it.
CREATE TABLE diversions (
    extension      TEXT PRIMARY KEY,
    do_not_disturb INTEGER NOT NULL CHECK (do_not_disturb IN (0, 1)),
    forward_to     TEXT CHECK (forward_to <> ''),   -- as dialled
    updated_at     INTEGER NOT NULL
) STRICT;

-- Phones and where they are, so that a restarted box can ring them at once. Not in the change log: it is of no use to
-- anybody else, and outdated within the hour.
CREATE TABLE registrations (
    extension  TEXT NOT NULL,
    contact    TEXT NOT NULL,                       -- SIP URI
    transport  TEXT NOT NULL CHECK (transport IN ('udp', 'tcp', 'tls')),
    peer       TEXT NOT NULL,                       -- address and port its REGISTER came from
    path       TEXT NOT NULL DEFAULT '[]' CHECK (json_type(path) = 'array'),
    sip_call_id TEXT NOT NULL,
    cseq       INTEGER NOT NULL CHECK (cseq >= 0),
    expires_at INTEGER NOT NULL,
    user_agent TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (extension, contact)
) STRICT;

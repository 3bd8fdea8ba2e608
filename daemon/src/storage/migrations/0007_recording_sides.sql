-- How long and how loudly each side of a recording talks: the list shows who said nothing without playing anything. NULL in
-- rows of older releases, and for the other side of a message. A level is that of the talk alone, in dBov.
ALTER TABLE recordings ADD COLUMN caller_talk_ms INTEGER;
ALTER TABLE recordings ADD COLUMN caller_level_dbov INTEGER;
ALTER TABLE recordings ADD COLUMN other_talk_ms INTEGER;
ALTER TABLE recordings ADD COLUMN other_level_dbov INTEGER;

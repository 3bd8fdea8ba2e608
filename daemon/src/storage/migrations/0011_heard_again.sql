-- What callers said is heard again by a better recogniser when nobody calls: `text` has its words then, this column those
-- that were understood in the call and answered.
ALTER TABLE conversation_turns ADD COLUMN first_text TEXT;

-- How long a tool of another program took in a turn; NULL: none was used.
ALTER TABLE conversation_turns ADD COLUMN tool_ms INTEGER CHECK (tool_ms >= 0);

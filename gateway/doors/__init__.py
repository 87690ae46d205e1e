"""How calls come in: codecs from bytes to ToolCall and from Outcome to bytes. No policy here."""

"""The protocol without I/O: messages, bytes, sessions, flow. Text: ``docs/protocol.md``."""

"""Bytes between processes: one module a way, chosen by the scheme of the URL."""

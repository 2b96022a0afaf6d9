"""Streams kept on disk, opened again and replayed."""

"""Pipelines whose results are streamed as they are written, and watching those of others."""

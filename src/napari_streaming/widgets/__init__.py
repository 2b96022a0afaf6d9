"""Thin Qt over the session: shows what it says, calls what the user wants."""

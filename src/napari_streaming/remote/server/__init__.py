"""The side that has the data, renders and encodes."""

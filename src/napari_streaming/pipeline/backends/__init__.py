"""The stores that values can be kept in, one module each."""

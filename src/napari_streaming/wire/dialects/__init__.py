"""Other programs' protocols, turned into our messages. Without any I/O."""

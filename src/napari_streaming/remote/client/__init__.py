"""The side that looks on: decodes what the server draws and sends what the user does."""

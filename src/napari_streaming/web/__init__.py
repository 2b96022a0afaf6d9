"""The viewer that runs in a browser: static files, and what answers a browser that asks for them."""

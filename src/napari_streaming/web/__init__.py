"""The viewer that runs in a browser: its files, and what hands them out."""

from __future__ import annotations

import os

# OpenGL and Qt are set up once a process, and differently for windows and without them. What
# draws without is run by test_headless.py, in a process of its own.
collect_ignore_glob = [] if os.environ.get("NAPARI_STREAMING_HEADLESS") else ["headless/*"]

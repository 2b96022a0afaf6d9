"""``python -m napari_streaming`` is ``napari-streaming``."""

from napari_streaming.cli.main import main

if __name__ == "__main__":
    main()

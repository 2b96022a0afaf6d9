"""Stream images and other layers from running pipelines into a live napari viewer."""

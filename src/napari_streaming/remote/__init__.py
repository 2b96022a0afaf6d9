"""napari on a machine with a GPU, its canvas on another: the remote session."""

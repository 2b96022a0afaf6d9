"""The only place that touches a napari viewer: streamed layers in, URLs opened."""

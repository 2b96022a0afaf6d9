"""Receiving: from a URL to layers as arrays, without Qt and without napari."""

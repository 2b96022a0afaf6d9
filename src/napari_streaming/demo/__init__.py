"""A small pipeline on a real image: nuclei in stained tissue, well by well.

``python -m napari_streaming.demo URL`` runs it. It knows neither napari nor Qt.
"""

"""The demo's pipeline as a program: ``python -m napari_streaming.demo URL``."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from skimage import data

from napari_streaming.demo.analysis import analyse, cut_wells
from napari_streaming.errors import StreamingError, TransportError
from napari_streaming.publish.publisher import Publisher
from napari_streaming.uri import parse_url


def run(url: str, interval: float = 0.0, timeout: float = 30.0) -> None:
    """Analyse six wells and publish each as soon as it is done.

    Parameters
    ----------
    url : str
        The viewer's.
    interval : float
        Seconds to rest between two wells.
    timeout : float
        Seconds that the viewer may take in the end.

    Raises
    ------
    URLError
        `url` cannot be used as given.
    TransportError
        No viewer took the data.
    """
    with Publisher(url, name="nuclei demo") as pub:
        for step, (well, tissue) in enumerate(cut_wells(data.immunohistochemistry()).items()):
            at = {"well": well}
            pub.image("tissue", tissue, at=at)
            found = analyse(tissue)
            pub.image(
                "hematoxylin",
                found.hematoxylin,
                at=at,
                colormap="bop blue",
                contrast_limits=(0.0, 0.4),
            )
            pub.image("DAB", found.dab, at=at, colormap="bop orange", contrast_limits=(0.0, 1.2))
            pub.labels("nuclei", found.labels, at=at)
            pub.points("centroids", found.centroids, at=at, features=found.features)
            pub.metric("nuclei count", len(found), step=step)
            pub.status("info", f"{well}: {len(found)} nuclei")
            time.sleep(interval)
        pub.status("complete", "all wells are analysed")
        if not pub.flush(timeout):
            raise TransportError(
                f"{parse_url(url).redacted()}: no viewer took the data within {timeout:g} s; "
                "start one with: napari-streaming view"
            )


def main(
    url: Annotated[str, typer.Argument(help="The viewer's URL.")],
    interval: Annotated[float, typer.Option(help="Seconds to rest between two wells.")] = 0.0,
) -> None:
    """Count nuclei in stained tissue, well by well, and stream it all to a viewer."""
    try:
        run(url, interval)
    except StreamingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    typer.run(main)

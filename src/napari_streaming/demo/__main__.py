"""The demo's pipeline as a program: ``python -m napari_streaming.demo URL``."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from typing import Annotated

import numpy as np
import typer
from skimage import data

from napari_streaming.demo.analysis import (
    cut_wells,
    find_nuclei,
    measure_nuclei,
    split_nuclei,
    the_one,
    unmix,
)
from napari_streaming.errors import StreamingError
from napari_streaming.pipeline import Materialize, Pipeline, Step, Stream

__all__ = ["make_pipeline", "run"]


def make_pipeline(url: str) -> Pipeline:
    """Return the pipeline; only what it writes is streamed to `url`."""
    results = Materialize("results")
    blue = Stream(colormap="bop blue", contrast_limits=(0.0, 0.4))
    orange = Stream(colormap="bop orange", contrast_limits=(0.0, 1.2))
    stains = ["hematoxylin", "DAB"]
    return Pipeline(
        [
            Step("tissue", np.copy, output=results),
            Step("unmix", unmix, gives={"stain": stains}),
            *(
                Step(
                    stain,
                    the_one,
                    inputs=["unmix"],
                    where={"stain": stain},
                    over=["stain"],
                    gives={},
                    output=results,
                    stream=look,
                )
                for stain, look in zip(stains, [blue, orange], strict=True)
            ),
            Step(
                "mask",
                find_nuclei,
                inputs=stains,
                materialize=Materialize("checkpoints"),
                stream=Stream(enabled=False),
            ),
            Step("nuclei", split_nuclei, output=results, stream=Stream(layer="labels")),
            Step("centroids", measure_nuclei, inputs=["nuclei", *stains], output=results),
            Step("nuclei count", len, output=results),
        ],
        axes=("well", "stain"),
        stream=Stream(url=url),
    )


def run(url: str, interval: float = 0.0) -> None:
    """Analyse six wells; what is written of each is streamed as soon as it is done.

    Parameters
    ----------
    url : str
        The viewer's.
    interval : float
        Seconds to rest before each well.

    Raises
    ------
    StreamingError
        The URL cannot be used as given, or a well failed.
    """
    wells = cut_wells(data.immunohistochemistry())
    source = {well: partial(_rest, interval, tissue) for well, tissue in wells.items()}
    with tempfile.TemporaryDirectory(prefix="napari-streaming-demo-") as folder:
        plan = make_pipeline(url).compile(source, root=folder, title="nuclei demo")
        print(plan.explain())
        plan.run("serial").raise_for_failures()


def _rest(seconds: float, tissue: np.ndarray) -> np.ndarray:
    time.sleep(seconds)
    return tissue


def main(
    url: Annotated[str, typer.Argument(help="The viewer's URL.")],
    interval: Annotated[float, typer.Option(help="Seconds to rest before each well.")] = 0.0,
) -> None:
    """Count nuclei in stained tissue, well by well, and stream it to a viewer."""
    try:
        run(url, interval)
    except StreamingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    typer.run(main)

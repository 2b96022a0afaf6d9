"""Takes the pictures of docs/browser.md from the running program; needs a Chromium."""

from __future__ import annotations

import time
from pathlib import Path

from skimage import data

import napari_streaming as ns
from napari_streaming.bench.chromium import Chromium
from napari_streaming.demo.analysis import (
    cut_wells,
    find_nuclei,
    measure_nuclei,
    split_nuclei,
    unmix,
)

IMAGES = Path(__file__).parent / "images"
VIEWER = "(async () => (await import('/main.js')).viewer.{})()"


def run(pub: ns.Publisher) -> None:
    """Count nuclei, well by well, as the demo does."""
    wells = list(cut_wells(data.immunohistochemistry()).items())
    for step, (well, tissue) in enumerate(pub.steps(wells)):
        pub.parameter("smoothing", 1.5, min=0.0, max=5.0)
        pub.parameter("method", "otsu", choices=["otsu", "local"])
        at = {"well": well}
        hematoxylin, dab = unmix(tissue)
        labels = split_nuclei(find_nuclei(hematoxylin, dab))
        found = measure_nuclei(labels, hematoxylin, dab)
        areas = found.features["area"]
        pub.image("tissue", tissue, at=at, scale=(0.5, 0.5), units="um")
        pub.image("DAB", dab, at=at, scale=(0.5, 0.5), units="um", colormap="bop orange",
                  contrast_limits=(0, 1.2))  # fmt: skip
        pub.labels("nuclei", labels, at=at, scale=(0.5, 0.5), units="um")
        pub.points("centroids", found.coordinates, at=at, scale=(0.5, 0.5), units="um")
        pub.metric("nuclei count", len(areas), step=step)
        pub.metric("mean area", areas.mean(), step=step)
        pub.status("info", f"{well}: {len(areas)} nuclei")
        pub.progress(step + 1, len(wells), well)
    pub.status("complete", "all wells are analysed")


def main() -> None:
    """Take both pictures: of a desktop's browser, and of a phone's."""
    with (
        ns.Publisher("ws://127.0.0.1:0?listen", name="count_nuclei.py") as pub,
        Chromium(pub.pages[0], width=1280, height=800) as browser,
    ):
        browser.until(VIEWER.format("session.isOpen"))
        run(pub)
        pub.flush(30)
        browser.run(
            "for (const name of ['centroids', 'DAB']) "
            "document.querySelector(`[aria-label='show ${name}']`).click()"
        )
        browser.run("document.querySelectorAll('#layer-list details')[2].open = true")
        time.sleep(2)
        (IMAGES / "browser.png").write_bytes(browser.picture())
        browser.resize(390, 844, phone=True)
        time.sleep(1)
        (IMAGES / "browser-phone.png").write_bytes(browser.picture())


if __name__ == "__main__":
    main()

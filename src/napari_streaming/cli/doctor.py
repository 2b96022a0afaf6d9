"""``napari-streaming doctor``: what works on this machine, what does not and why, and how fast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from napari_streaming.cli.installation import Check, checks
from napari_streaming.errors import DataError, EncoderError
from napari_streaming.remote.server.encoders import RUNGS
from napari_streaming.remote.server.gpus import GPU, find_gpus
from napari_streaming.remote.server.ladder import Trial, trial
from napari_streaming.wire.frames import Chroma

__all__ = ["doctor"]

_MARKS = {True: "ok", False: "NO", None: "--"}
# The usual sampling at all sizes, the finer one where it is shown most.
_MEASURED: tuple[tuple[str, Chroma], ...] = (
    ("720p", "420"),
    ("1080p", "420"),
    ("1080p", "444"),
    ("4K", "420"),
)


def doctor(json_path: str | None, fresh: bool) -> None:
    """Check the installation, try the encoders, measure those that work, and say all that.

    Parameters
    ----------
    json_path : str, optional
        Where the findings go as JSON; ``-`` for stdout, the words go to stderr then.
    fresh : bool
        Whether to try encoders again that were tried before.

    Raises
    ------
    DataError
        There is no such folder for the JSON.
    """
    if json_path not in (None, "-") and not Path(str(json_path)).parent.is_dir():
        raise DataError(f"{json_path}: there is no such folder")
    report = _Report(to_stderr=json_path == "-")
    findings = _examine(report, fresh)
    if json_path is None:
        return
    text = json.dumps(findings, indent=2) + "\n"
    if json_path == "-":
        typer.echo(text, nl=False)
    else:
        Path(json_path).write_text(text)


class _Report:
    """Says things in words as they become known."""

    def __init__(self, to_stderr: bool) -> None:
        self._to_stderr = to_stderr

    def title(self, text: str) -> None:
        self.line(f"\n{text}")

    def line(self, text: str) -> None:
        typer.echo(text, err=self._to_stderr)

    def row(self, mark: bool | None, name: str, text: str) -> None:
        self.line(f"  {_MARKS[mark]}  {name:18} {text}".rstrip())


def _examine(report: _Report, fresh: bool) -> dict[str, Any]:
    report.title("Installation")
    done: list[Check] = []
    for check in checks():
        done.append(check)
        report.row(check.works, check.name, check.found)
    gpus = find_gpus()
    report.title("GPUs")
    for gpu in gpus:
        report.line(f"      {gpu}")
    if not gpus:
        report.line("      none found: encoding is done by the processor, drawing by Mesa")

    report.title("Encoders for remote sessions, the best first")
    trials = []
    for name in RUNGS:
        trials.append(trial(name, fresh=fresh))
        _say_trial(report, trials[-1])
    costs = list(_costs(report, trials)) if any(t.works for t in trials) else []
    advice = list(_advice(done, gpus, trials))
    report.title("To get more" if advice else "Nothing more to install.")
    for text in advice:
        report.line(f"  - {text}")
    return {
        "checks": [asdict(check) for check in done],
        "gpus": [asdict(gpu) for gpu in gpus],
        "encoders": {t.name: t.reasons for t in trials},
        "costs": costs,
        "advice": advice,
    }


def _say_trial(report: _Report, tried: Trial) -> None:
    reasons = tried.reasons
    if not tried.works:
        report.row(False, tried.name, reasons["420"])
    elif reasons["444"]:
        report.row(True, tried.name, f"4:2:0 alone: {reasons['444']}")
    else:
        report.row(True, tried.name, "4:2:0 and 4:4:4")


def _costs(report: _Report, trials: list[Trial]) -> Iterator[dict[str, Any]]:
    """Measure what works; the same film for all."""
    from napari_streaming.cli.encoder_costs import Cost, Film, cost, cost_of_still

    report.title("Their cost: medians of a film of noisy cells that are dragged")
    report.line(
        f"  {'':16} {'size':>5} {'chroma':>6} {'encode':>9} {'decode':>9}"
        f" {'encoder':>9} {'frame':>9} {'quality':>9}"
    )

    def said(name: str, found: Cost) -> dict[str, Any]:
        report.line(
            f"  {name:16} {found.size:>5} {found.chroma:>6} {found.encode_ms:>6.1f} ms"
            f" {found.decode_ms:>6.1f} ms {found.fps:>5.0f} fps"
            f" {found.bytes_per_frame / 1e3:>6.0f} kB {found.psnr_db:>6.1f} dB"
        )
        return {"encoder": name} | asdict(found)

    for size in dict.fromkeys(size for size, _ in _MEASURED):
        film = Film(size)
        for tried in trials:
            for chroma in (c for s, c in _MEASURED if s == size and c in tried.works):
                try:
                    yield said(tried.name, cost(tried.name, film, chroma))
                except EncoderError as error:
                    report.line(f"  {tried.name:16} {size:>5} {chroma:>6} {error}")
        if size == "1080p":
            yield said("lossless still", cost_of_still(film))


def _advice(done: list[Check], gpus: list[GPU], trials: list[Trial]) -> Iterator[str]:
    """Say what to install, the most needed first."""
    hints: dict[str, list[str]] = {}
    for check in done:
        if check.works is False and check.hint:
            hints.setdefault(check.hint, []).append(check.name)
    for hint, names in hints.items():
        yield f"{', '.join(names)}: {hint}"
    works = {tried.name for tried in trials if tried.works}
    nvidia = any(gpu.driver.startswith("NVIDIA") for gpu in gpus)
    if nvidia and not works & {"h264_nvenc", "pynvvideocodec"}:
        yield (
            "NVIDIA's encoder: the driver's libnvidia-encode (in containers"
            " NVIDIA_DRIVER_CAPABILITIES=all) and a driver as new as the reason above asks for, or"
            " pip install PyNvVideoCodec for older ones. GPUs that only compute have no encoder:"
            " the processor does it then."
        )
    if any(gpu.driver.split(",")[0] in ("amdgpu", "i915", "xe") for gpu in gpus) and not (
        works & {"h264_vaapi", "h264_qsv"}
    ):
        yield (
            "the encoder of an AMD or Intel GPU: PyAV built for this system's FFmpeg,"
            " pip install --no-binary av av"
        )
    if "libx264" not in works:
        yield "H.264 by the processor: the PyAV of PyPI has it, pip install --force-reinstall av"

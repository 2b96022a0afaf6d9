"""The command ``napari-streaming``. What a command needs is imported when it runs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_streaming.errors import StreamingError
from napari_streaming.uri import DEFAULT_URL, parse_url

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands whose errors are one line for the user, and no traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except StreamingError as error:
            typer.echo(f"napari-streaming: {error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="napari-streaming",
    cls=_Commands,
    help="Watch running pipelines live in napari.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-streaming {version('napari-streaming')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command("view")
def _view(
    url: Annotated[
        str, typer.Argument(help="Where to listen, or a publisher's URL.", metavar="URL")
    ] = DEFAULT_URL,
) -> None:
    """Open napari and show what is published."""
    from napari_streaming.cli.view import view

    view(url)


@app.command("publish")
def _publish(
    files: Annotated[
        list[Path], typer.Argument(help="TIFF, OME-TIFF, OME-Zarr, PNG, ...", metavar="FILE...")
    ],
    to: Annotated[str, typer.Option(help="The viewer's URL.", metavar="URL")] = parse_url(
        DEFAULT_URL
    ).address,
    name: Annotated[
        str | None,
        typer.Option(help="One layer for all files; by default a layer for each, named like it."),
    ] = None,
    interval: Annotated[float, typer.Option(min=0, help="Seconds between two planes.")] = 0.0,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a viewer that takes nothing.")
    ] = 30.0,
) -> None:
    """Publish image files, one plane at a time, to a viewer."""
    from napari_streaming.cli.publish import publish

    publish(files, to, name, interval, timeout)


@app.command("record")
def _record(
    url: Annotated[
        str,
        typer.Argument(help="A publisher's URL; ?listen: publishers come here.", metavar="URL"),
    ],
    out: Annotated[Path, typer.Argument(help="The recording: run.ome.zarr.", metavar="OUT")],
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the first publisher; 0: for ever.")
    ] = 0.0,
) -> None:
    """Record what is published, until the publisher ends or Ctrl-C."""
    from napari_streaming.cli.record import record

    record(url, out, timeout)


@app.command("replay")
def _replay(
    recording: Annotated[
        Path, typer.Argument(help="run.nstream, or the folder run.ome.zarr.", metavar="REC")
    ],
    speed: Annotated[float, typer.Option(min=0.01, max=1000, help="1: as fast as it came.")] = 1.0,
    to: Annotated[
        str, typer.Option(help="The viewer's URL.", metavar="URL")
    ] = DEFAULT_URL.removesuffix("?listen"),
    loop: Annotated[bool, typer.Option(help="Begin again at the end.")] = False,
    stay: Annotated[
        bool, typer.Option(help="Stay at the end, for viewers who go back; Stop ends it.")
    ] = False,
) -> None:
    """Play a recording in a viewer, which is opened if none is there."""
    from napari_streaming.cli.record import replay

    replay(recording, speed, to, loop, stay)


@app.command("demo")
def _demo(
    output: Annotated[Path, typer.Option(help="Where the screenshot goes.")] = Path("demo.png"),
    headless: Annotated[
        bool | None,
        typer.Option(
            "--headless/--window", help="Without a screen or in a window; by default what works."
        ),
    ] = None,
) -> None:
    """Watch a small pipeline count nuclei, live in napari."""
    from napari_streaming.cli.demo import demo

    demo(output, headless)


@app.command("bench")
def _bench(
    name: Annotated[str, typer.Argument(help="What to measure: local, record or display.")],
    json: Annotated[
        str, typer.Option(help="File for the numbers; - for the standard output.", metavar="FILE")
    ] = "-",
) -> None:
    """Measure how fast streaming is on this machine."""
    from napari_streaming.cli.bench import bench

    bench(name, json)

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


@app.command("viewers")
def _viewers() -> None:
    """List the viewers that listen on this machine."""
    from napari_streaming.cli.viewers import viewers

    viewers()


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


@app.command("watch")
def _watch(
    folder: Annotated[
        Path, typer.Argument(help="Where other programs write images.", metavar="DIR")
    ],
    to: Annotated[str, typer.Option(help="The viewer's URL.", metavar="URL")] = parse_url(
        DEFAULT_URL
    ).address,
    pattern: Annotated[
        str | None,
        typer.Option(
            help='Coordinates in the names: "{well}_s{site}_w{channel}.tif", "{well}/t{t:d}.tif". '
            "Files that do not fit are left out.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="One layer for all files; by default they are named like the files."),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Which files are labels, like '*_cells.tif'; by default integer images whose "
            "names end in mask, labels or seg.",
            metavar="GLOB",
        ),
    ] = None,
    existing: Annotated[
        bool,
        typer.Option("--existing/--new-only", help="Whether to stream what is there already."),
    ] = True,
    recursive: Annotated[
        bool, typer.Option(help="Whether to watch the folders in the folder, too.")
    ] = True,
    settle: Annotated[
        float, typer.Option(min=0.01, help="Seconds that a finished file stays as it is.")
    ] = 0.5,
    poll: Annotated[
        bool,
        typer.Option("--poll", help="Look again and again: for network filesystems."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait at the end for a viewer.")
    ] = 10.0,
) -> None:
    """Stream the images that other programs write, as they are finished."""
    from napari_streaming.cli.watch import watch

    watch(
        folder, to, pattern=pattern, name=name, labels=labels or (), existing=existing,
        recursive=recursive, settle=settle, poll=poll, timeout=timeout,
    )  # fmt: skip


@app.command("serve")
def _serve(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="What napari opens; OME-Zarr lazily.")
    ] = None,
    listen: Annotated[str, typer.Option(help="Where.", metavar="URL")] = "ws://127.0.0.1:8766",
    size: Annotated[str, typer.Option(help="Of the picture.", metavar="WxH")] = "1920x1080",
    encoder: Annotated[str, typer.Option(help="One of those that `doctor` lists.")] = "auto",
    root: Annotated[
        Path | None, typer.Option(help="Folder of which clients may open files.")
    ] = None,
    receive: Annotated[
        str | None,
        typer.Option(help="Show what is published here, too.", metavar="URL"),
    ] = None,
) -> None:
    """Render napari here, without a window, and show it in a napari elsewhere."""
    from napari_streaming.cli.serve import serve

    serve(paths or [], listen, size, encoder, root, receive)


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
    name: Annotated[str, typer.Argument(help="What to measure: local, display or remote.")],
    json: Annotated[
        str, typer.Option(help="File for the numbers; - for the standard output.", metavar="FILE")
    ] = "-",
) -> None:
    """Measure how fast streaming is on this machine."""
    from napari_streaming.cli.bench import bench

    bench(name, json)


@app.command("doctor")
def _doctor(
    json: Annotated[
        str | None, typer.Option(help="Also as JSON; - for the standard output.", metavar="FILE")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Try encoders again that were tried before.")
    ] = False,
) -> None:
    """Say what works on this machine, what does not and why, and how fast."""
    from napari_streaming.cli.doctor import doctor

    doctor(json, fresh)

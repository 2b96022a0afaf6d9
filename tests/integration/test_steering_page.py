"""What docs/steering.md says, typed as it stands there, with a viewer that steers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "steering.md").read_text()
KINDS = {
    "sigma": "float",
    "rounds": "int",
    "dark background": "bool",
    "method": "choice",
    "note": "text",
    "save": "button",
}


def test_the_page_can_be_typed(tmp_path, receiver, until):
    viewer = receiver("tcp://127.0.0.1:0?listen")
    here = viewer.urls[0].partition("#")[0].removeprefix("tcp://")
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    for port, instead in (("5555", here), ("5556", "127.0.0.1:0"), ("8765", "127.0.0.1:0")):
        assert f"127.0.0.1:{port}" in re.sub(r"#.*", "", script)
        script = script.replace(f"127.0.0.1:{port}", instead)

    def endless():
        """Return the run of the program that only a viewer ends."""
        programs = viewer.layers.programs.values()
        return next((p.run for p in programs if p.name == "endless.py" and p.running), None)

    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            until(endless)
            viewer.control(endless(), "pause")
            until(lambda: viewer.layers.programs[endless()].running.state == "paused")
            viewer.control(endless(), "stop")
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, output
    ended = [line.text for line in viewer.layers.log if "what there is was saved" in line.text]
    assert ended and "stopped by" in ended[0]
    addresses = re.findall(r"(?:ws|http)://\S+", output)
    assert ["#view-" in address for address in addresses] == [False, True, False, True]
    assert {"field", "rolled", "camera"} == viewer.layers.keys()
    assert viewer.layers["field"].axes[0] == "step" and "roughness" in viewer.layers.metrics
    (tuned,) = [p for p in viewer.layers.programs.values() if p.name == "tuned.py"]
    assert {p.name: p.kind for p in tuned.parameters.values()} == KINDS

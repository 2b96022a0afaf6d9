"""The table of the rule: is an output written, is it streamed, and why."""

from __future__ import annotations

import pytest

from napari_streaming.pipeline.rule import Target, decide

URL = "tcp://127.0.0.1:5555"
OUTPUT, CHECKPOINT = Target("main output"), Target("checkpoint")
OVERWRITTEN = Target("main output", there=True)
KEPT, KEPT_CHECKPOINT = (
    Target(r, overwrite=False, there=True) for r in ("main output", "checkpoint")
)
NEW = Target("main output", overwrite=False)


@pytest.mark.parametrize(
    ("targets", "said", "written", "streamed", "why"),
    [
        ([OUTPUT], {}, [OUTPUT], True, "written as main output"),
        ([CHECKPOINT], {}, [CHECKPOINT], True, "written as checkpoint"),
        ([OUTPUT, CHECKPOINT], {}, [OUTPUT, CHECKPOINT], True, "main output and checkpoint"),
        ([], {}, [], False, "stays in memory"),
        ([OVERWRITTEN], {}, [OVERWRITTEN], True, "written as main output"),
        ([NEW], {}, [NEW], True, "written as main output"),
        ([KEPT], {}, [], False, "already there"),
        ([KEPT, KEPT_CHECKPOINT], {}, [], False, "already there"),
        ([KEPT, CHECKPOINT], {}, [CHECKPOINT], True, "written as checkpoint"),
        ([OUTPUT], {"selected": False}, [OUTPUT], False, "well filter"),
        ([OUTPUT], {"enabled": False}, [OUTPUT], False, "switched off"),
        ([OUTPUT], {"url": ""}, [OUTPUT], False, "no viewer's url"),
        ([], {"url": "", "enabled": False, "selected": False}, [], False, "stays in memory"),
        ([OUTPUT], {"url": "", "enabled": False}, [OUTPUT], False, "switched off"),
        ([KEPT], {"selected": False}, [], False, "already there"),
    ],
)  # fmt: skip
def test_the_rule(targets, said, written, streamed, why):
    decision = decide(targets, **({"url": URL} | said))
    assert decision.written == tuple(written)
    assert decision.streamed is streamed
    assert why in decision.why
    assert not decision.streamed or decision.written  # what is not written is never streamed

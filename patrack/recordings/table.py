"""The track of a recording as a table: `frame,time,x,y,w,h,score,lost`, a row per frame.

`frame` from 0; `time` in seconds since the first frame; `x,y,w,h` in pixels; `score`; `lost`: 1 or 0, see
`patrack.tracker.Result`.
"""

from __future__ import annotations

from patrack.tracker import Result

__all__ = ["TABLE_HEADER", "table_row"]

TABLE_HEADER = "frame,time,x,y,w,h,score,lost\n"


def table_row(result: Result, time: float) -> str:
    """Write a frame's row, with its line break: boxes to 1/10000 pixel, time and score to 6 decimals."""
    values = ",".join(f"{value:.4f}" for value in result.box.tolist())
    return f"{result.number},{time:.6f},{values},{result.score:.6f},{int(result.lost)}\n"

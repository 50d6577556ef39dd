"""Inputs of every command that writes, and what each leaves when nothing happens: both made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import disturbed
from recording_data import write_recording
from vot_data import write_data
from writing_commands import CASES, VOT, Undisturbed, contents, unfinished


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, results of two trackers, a recording, a trained run and a VOT workspace."""
    folder = tmp_path_factory.mktemp("inputs")

    def run(command: str, *words: str) -> None:
        code, said = disturbed.start(command, list(words), folder).end()
        assert code == 0, said

    data = folder / "data"
    for splits, length in (("train", "val"), 20), (("test",), 5):
        sizes = ["--count", "2", "--length", str(length), "--size", "96x72", "--workers", "1", "--split", *splits]
        run("scripts/make_synthrgbx.py", "--output", str(data / "SynthRGBX"), "--modality", "rgbt", *sizes)
    rng = np.random.default_rng(0)
    for path in sorted((data / "SynthRGBX").rglob("test*/init.txt")):
        (folder / "truth" / "annos").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "truth" / "annos" / f"{path.parent.name}.txt")
        for tracker in ("ours", "other"):
            (folder / tracker).mkdir(exist_ok=True)
            boxes = np.loadtxt(path, delimiter=",")
            boxes[1:] += rng.normal(size=boxes[1:].shape)
            np.savetxt(folder / tracker / f"{path.parent.name}.txt", boxes, fmt="%.3f", delimiter=",")
    write_recording(folder / "recording", ("rgb", "x"), frames=4)
    write_data(folder / "depth", count=4)
    run(
        *("scripts/prepare_vot.py", "--dataset", "synthrgbd", "--root", str(folder / "depth")),
        *("--workspace", str(folder / "workspace"), *VOT),
    )
    run(CASES["train"].command, *CASES["train"].words(folder, folder / "runs"))
    shutil.copytree(folder / "runs" / "rgb_tiny", folder / "suite" / "one" / "seed_0" / "rgb_tiny")
    return folder


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """By the name of a case, made once."""
    known: dict[str, Undisturbed] = {}

    def get(name: str) -> Undisturbed:
        if name not in known:
            case = CASES[name]
            output = case.fresh(inputs, tmp_path_factory.mktemp("whole"))
            run = case.start(inputs, output)
            code, said = run.end()
            assert code == 0, said
            files = contents(output)
            assert unfinished(output) == []
            sizes = {name: (output / name).stat().st_size for name in files}
            known[name] = Undisturbed(files, run.moments.value, sizes)
        return known[name]

    return get

"""What a run folder may hold when a run starts in it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.training.manifest import read_manifest


def test_run_that_failed_before_it_began_does_not_block_its_folder(train: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="toaster"):
        train(device="toaster")
    folder = train("train.epochs=1").parent
    assert read_manifest(folder)["status"] == "finished"
    assert "toaster" not in (folder / "train.log").read_text()
    with pytest.raises(ValueError, match="already holds a run"):
        train("train.epochs=1")


def test_files_that_are_no_failed_start_are_not_deleted(train: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "rgbt_tiny"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"identity": {}}')  # of tracking results
    with pytest.raises(ValueError, match="already holds a run"):
        train()
    (folder / "run.json").write_text('{"status": ')
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        train()


@pytest.mark.parametrize("place", ["contents", "name"])
def test_damaged_checkpoint_is_refused_with_a_remedy(train: Callable, place: str) -> None:
    path = train("train.epochs=1").parent / "checkpoints" / "last.pt"
    with zipfile.ZipFile(path) as file:
        largest = max(file.infolist(), key=lambda item: item.file_size)
    content = bytearray(path.read_bytes())
    header = largest.header_offset  # of 30 bytes; name, padding and contents follow
    content[{"contents": header + 200 + largest.file_size // 2, "name": header + 34}[place]] ^= 0xFF
    path.write_bytes(content)
    reason = "checksum" if place == "contents" else "damaged"
    with pytest.raises(ValueError, match=rf"last\.pt .*{reason}.*epoch_0001\.pt"):
        train("train.epochs=1", resume=True)

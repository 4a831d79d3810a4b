"""Training curves as a picture, from the TensorBoard files of training runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fwn_vocoder.errors import DataError
from fwn_vocoder.files import atomic_write


class Curve(NamedTuple):
    """Values of one kind at the steps of a run."""

    steps: list[int]
    values: list[float]


VOCODER = "valid/nll_nats_per_sample"
ACOUSTIC = "l1_loss"
_LABELS = {
    VOCODER: "validation NLL [nats per sample]",
    ACOUSTIC: "validation mel distance (L1, normalised)",
}


def save_curves(path: str | Path, runs: list[Path]) -> None:
    """Draw the validation curves of vocoder runs (``fwn train``) and ESPnet2 experiments.

    Runs of one kind are drawn one after the other, as phases of one training.

    Raises:
        DataError: a run has no curve.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, list[tuple[str, Curve]]] = {}
    for run in runs:
        kind, curve = _read(run)
        curves.setdefault(kind, []).append((run.name, curve))
    figure = Figure(figsize=(5.5 * len(curves), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (kind, phases) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        offset = 0
        for name, curve in phases:
            axes.plot([offset + s for s in curve.steps], curve.values, marker=".", label=name)
            offset += curve.steps[-1]
        axes.set_xlabel("step")
        axes.set_ylabel(_LABELS[kind])
        axes.legend()
        axes.grid(alpha=0.3)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90)


def _read(run: Path) -> tuple[str, Curve]:
    """Return the kind of a run and its validation curve."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for kind, directory in ((VOCODER, "tensorboard"), (ACOUSTIC, "tensorboard/valid")):
        if not (run / directory).is_dir():
            continue
        events = EventAccumulator(str(run / directory))
        events.Reload()
        if kind in events.Tags()["scalars"]:
            scalars = events.Scalars(kind)
            return kind, Curve([s.step for s in scalars], [s.value for s in scalars])
    raise DataError(f"{run}: has no TensorBoard curve {VOCODER!r} or {ACOUSTIC!r}; is it a run?")

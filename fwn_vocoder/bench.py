"""Speed and memory, measured side by side in one run: the plain model against the sampler."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fwn_vocoder.config import validate
from fwn_vocoder.errors import ConfigError
from fwn_vocoder.models.flowavenet import FloWaveNet, FloWaveNetConfig
from fwn_vocoder.registry import load_model
from fwn_vocoder.sampler import FloWaveNetSampler
from fwn_vocoder.train.config import read_experiment

TRAINING_BATCH, TRAINING_FRAMES = 2, 62
"""2 x 15 872 samples at the usual hop."""


@dataclass(frozen=True)
class Measurement:
    """Medians of one way of doing something.

    Attributes:
        seconds: wall time of one execution.
        samples_per_s: audio samples made (or learned from) in a second.
        rtf: seconds of computing for a second of audio.
        speedup: against the first way of the same task.
    """

    task: str
    way: str
    seconds: float
    samples_per_s: float
    rtf: float
    speedup: float


def load_for_bench(path: Path) -> FloWaveNet:
    """Load a checkpoint, or build an experiment file's vocoder with random non-trivial weights."""
    if path.suffix == ".safetensors":
        return load_model(path)
    experiment = read_experiment(path)
    config = validate(FloWaveNetConfig, experiment.vocoder_conf, f"{path}: vocoder_conf")
    torch.manual_seed(0)
    model = FloWaveNet(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".out." in name:  # these start at zero, which would make every coupling idle
                parameter.normal_(0.0, 0.01)
    return model.eval()


def bench(
    path: Path, *, device: str, threads: int | None, frames: int, repeats: int, training: bool
) -> list[Measurement]:
    """Time sampling, and with ``training`` a training step, each way in turn.

    Args:
        frames: length of the mel to sample from.
        repeats: executions of each way; medians are reported.

    Raises:
        ConfigError: the device is not there.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: there is no CUDA device here, or torch has no CUDA")
    if threads is not None:
        torch.set_num_threads(threads)
    model = load_for_bench(path).to(device)
    results = _time_all("sampling", _sampling_ways(model, frames), repeats, frames, model)
    if training:
        n_frames = TRAINING_BATCH * TRAINING_FRAMES
        results += _time_all("training step", _training_ways(model), repeats, n_frames, model)
    return results


def _sampling_ways(model: FloWaveNet, frames: int) -> dict[str, Callable[[], object]]:
    spec = model.mel_spec
    generator = torch.Generator(model.device).manual_seed(0)
    shape = (1, spec.n_mels, frames)
    mel = model.config.mel_mean + model.config.mel_std * torch.randn(
        shape, generator=generator, device=model.device
    )
    latent = 0.7 * torch.randn(
        (1, 1, frames * spec.hop_length), generator=generator, device=model.device
    )

    def plain() -> object:
        with torch.inference_mode():
            return model.synthesize(mel, latent=latent)

    ways: dict[str, Callable[[], object]] = {"plain model, float32": plain}
    for dtype in (torch.float32, torch.bfloat16):
        sampler = FloWaveNetSampler(model, dtype)
        name = f"sampler, {str(dtype).removeprefix('torch.')}"
        ways[name] = lambda sampler=sampler: sampler.synthesize(mel, latent=latent)
    return ways


def _training_ways(model: FloWaveNet) -> dict[str, Callable[[], object]]:
    spec = model.mel_spec
    mel = model.config.mel_mean + torch.randn(
        TRAINING_BATCH, spec.n_mels, TRAINING_FRAMES, device=model.device
    )
    wav = 0.1 * torch.randn(TRAINING_BATCH, TRAINING_FRAMES * spec.hop_length, device=model.device)
    model.requires_grad_(True)

    def step(dtype: torch.dtype, fused: bool) -> Callable[[], object]:
        optimizer = torch.optim.Adam(model.parameters(), 1e-9, fused=fused, foreach=False)

        def run() -> None:
            with torch.autocast(model.device.type, dtype, enabled=dtype == torch.bfloat16):
                loss = model(wav, mel).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return run

    return {
        "float32, plain Adam": step(torch.float32, False),
        "float32, fused Adam": step(torch.float32, True),
        "bfloat16 autocast, fused Adam": step(torch.bfloat16, True),
    }


def _time_all(
    task: str, ways: dict[str, Callable], repeats: int, frames: int, model: FloWaveNet
) -> list[Measurement]:
    """Execute all ways in turn, so that what disturbs one disturbs the others."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):  # the first round warms up
        for name, run in ways.items():
            _wait(model.device)
            started = time.perf_counter()
            run()
            _wait(model.device)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    first = next(iter(medians.values()))
    n_samples = frames * model.mel_spec.hop_length
    duration = n_samples / model.mel_spec.sample_rate
    return [
        Measurement(task, name, t, n_samples / t, t / duration, first / t)
        for name, t in medians.items()
    ]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Memory:
    """What sampling takes, in a process of its own.

    Attributes:
        loaded_mb: peak of the resident memory up to the moment before sampling.
        above_mb: how far sampling exceeds what was in use then.
    """

    frames: int
    loaded_mb: float
    above_mb: float
    rtf: float


def peak_memory(path: Path, frames: int) -> Memory:
    """Sample in a new process, and return what it took (Linux).

    Raises:
        ConfigError: the kernel does not tell.
    """
    if not Path("/proc/self/clear_refs").exists():
        raise ConfigError("--memory reads /proc, which only Linux has")
    code = "import sys; from fwn_vocoder.bench import report_memory; report_memory(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(path), str(frames)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    loaded_mb, above_mb, rtf = map(float, done.stdout.split())
    return Memory(frames, loaded_mb, above_mb, rtf)


def report_memory(path: str, frames: str) -> None:
    """Sample once and print three figures of ``Memory``; what ``peak_memory`` starts."""
    sampler = FloWaveNetSampler(load_for_bench(Path(path)))
    spec = sampler.mel_spec
    mel = sampler.config.mel_mean + 0.1 * torch.randn(1, spec.n_mels, int(frames))
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is in use
    loaded = _peak_mb()
    started = time.perf_counter()
    wav = sampler.synthesize(mel, temperature=0.5)
    seconds = time.perf_counter() - started
    print(loaded, _peak_mb() - loaded, seconds * spec.sample_rate / wav.shape[1])


def _peak_mb() -> float:
    """Return the peak of this process's resident memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def as_table(results: list[Measurement]) -> str:
    """Return times as a Markdown table."""
    rows = ["| task | way | seconds | samples/s | RTF | speed-up |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {m.task} | {m.way} | {m.seconds:.3f} | {m.samples_per_s:,.0f} | {m.rtf:.3f} | "
        f"{m.speedup:.2f} |"
        for m in results
    ]
    return "\n".join(rows)


def as_memory_table(results: list[Memory]) -> str:
    """Return memory as a Markdown table."""
    rows = ["| frames | loaded [MB] | above while sampling [MB] | RTF |", "|---|---|---|---|"]
    rows += [
        f"| {m.frames} | {m.loaded_mb:.0f} | {m.above_mb:.0f} | {m.rtf:.3f} |" for m in results
    ]
    return "\n".join(rows)


def as_data(results: list[Measurement] | list[Memory]) -> list[dict]:
    """Return measurements as plain data, for JSON."""
    return [asdict(measurement) for measurement in results]


def parse_lengths(text: str | None) -> list[int]:
    """Parse ``"1000,10000"`` into frame counts."""
    parts = text.split(",") if text else []
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--memory {text}: expected frame counts such as 1000,10000")
    return [int(part) for part in parts]

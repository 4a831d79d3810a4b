"""Typed errors. Each carries the exit code that the command line returns for it."""


class FwnError(Exception):
    """Base of every error that a user can cause; the message says what is allowed and the fix."""

    exit_code = 3


class ConfigError(FwnError):
    """A configuration file or argument is wrong (exit code 2)."""

    exit_code = 2


class DataError(FwnError):
    """A data directory, an audio file or a feature file is wrong (exit code 3)."""


class MelMismatchError(DataError):
    """A mel spectrogram does not fit a vocoder and no exact conversion exists."""


class TextError(DataError):
    """A text cannot be spoken: empty, too long, or nothing in it is pronounceable."""


class CheckpointError(FwnError):
    """A checkpoint or voice is missing, damaged or of another kind (exit code 5)."""

    exit_code = 5


class SynthesisError(FwnError):
    """A model produced something that is not audio, for example NaN (exit code 5)."""

    exit_code = 5


class MissingDependencyError(FwnError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""

    exit_code = 5


class PartialFailure(FwnError):
    """Some items of a batch failed; the others are complete (exit code 4)."""

    exit_code = 4

"""The layer rule, and that importing the package is cheap."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "fwn_vocoder"

# Each part may import those in later rows, and its own row's other files.
LAYERS = [
    {"cli"},
    {"speak", "doctor", "evaluate", "pack", "extract", "bench"},
    {"espnet", "synthesizer", "train", "decode", "calibrate"},
    {"acoustic", "voices", "picture", "curves", "reference2019"},
    {"checkpoint", "data", "registry"},
    {"sampler"},
    {"models"},
    {"mel", "audio", "text"},
    {"config", "files", "errors"},
]
LEVEL = {part: i for i, row in enumerate(LAYERS) for part in row}


def part_of(module):
    return module.removeprefix("fwn_vocoder.").split(".")[0]


def imports_of(path):
    """Yield the modules of the package that a file imports when it runs (not for typing alone)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports_of(path):
        if not module.startswith("fwn_vocoder."):
            continue
        assert LEVEL[part_of(module)] >= LEVEL[own], f"{own} must not import {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_espnet_part_imports_espnet(path):
    if "espnet" not in path.relative_to(PACKAGE).parts:
        assert not any(module.split(".")[0] == "espnet2" for module in imports_of(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_importing_the_package_imports_no_heavy_one():
    code = (
        "import sys, fwn_vocoder; fwn_vocoder.__version__; "
        "print([m for m in ('torch', 'espnet2', 'librosa', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

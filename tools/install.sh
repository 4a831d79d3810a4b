#!/usr/bin/env bash
# Usage: tools/install.sh [VENV]      (default: .venv; PYTHON=python3.11 chooses the interpreter)
# Installs fwn_vocoder with everything that the recipes and tests need, ESPnet included.
# Python 3.11: pinned versions from requirements/python311.txt. Newer: as pip resolves them.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "tools/install.sh: $("$python" --version) is too old; Python 3.11 or newer is needed" >&2
  exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)

if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
  echo "installing pinned packages (Python 3.11) ..." >&2
  "${pip[@]}" --no-deps -r requirements/python311.txt
  "${pip[@]}" torch==2.13.0
  "${pip[@]}" --no-deps --no-build-isolation -e .
else
  echo "installing packages (Python >= 3.12) ..." >&2
  "${pip[@]}" -e '.[espnet,train,test]'
fi

# torchaudio's wheels are built against CUDA. Beside a CPU build of torch its native libraries cannot
# be loaded; without them its pure Python parts, which is what ESPnet needs, work.
"$venv/bin/python" - <<'PYTHON'
import importlib.util
import pathlib

import torch

spec = importlib.util.find_spec("torchaudio")
if spec is not None and torch.version.cuda is None:
    for library in (pathlib.Path(spec.origin).parent / "lib").glob("*.so"):
        library.rename(library.with_suffix(".so.disabled"))
PYTHON
echo "installed into $venv" >&2

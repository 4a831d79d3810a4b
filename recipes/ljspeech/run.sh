#!/usr/bin/env bash
# LJSpeech (one speaker, 24 h, public domain): from the corpus to a voice. See --help.
# Everything: ./run.sh --stage -1. A local copy: ./run.sh --db-root DIR.
set -euo pipefail
recipe_dir=$(cd "$(dirname "$0")" && pwd)
corpus=ljspeech

download() { fwn download-ljspeech --out "$work_dir/downloads"; }
prepare() { fwn prepare-ljspeech --db-root "$1" --out "$2"; }

. "$recipe_dir/../common/recipe.sh"

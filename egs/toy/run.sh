#!/usr/bin/env bash
# The whole pipeline in minutes, on a corpus that is made on the spot: ./run.sh --stage -1
set -euo pipefail
recipe_dir=$(cd "$(dirname "$0")" && pwd)
corpus=toy
config=$recipe_dir/conf/flowavenet.yaml
tts_config=$recipe_dir/conf/tacotron2.yaml

download() {
  "$(dirname "$(command -v fwn)")/python" make_corpus.py "$work_dir/corpus" >&2
  echo "$work_dir/corpus"
}
prepare() { fwn prepare-ljspeech --db-root "$1" --out "$2"; }

. "$recipe_dir/../../recipes/common/recipe.sh"

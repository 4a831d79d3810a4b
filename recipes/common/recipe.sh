# The stages that all recipes share. A recipe's run.sh sets `corpus`, defines the functions
# `download` (prints the corpus directory) and `prepare DB_ROOT DATA_DIR`, sets the defaults below if
# it wants others, and sources this file with its arguments.

: "${config:=conf/flowavenet_small.yaml}" "${tts_config:=conf/fastspeech2.yaml}"
: "${nj:=2}" "${stage:=0}" "${stop_stage:=9}"
db_root= finetune_config= ngpu=0 tag= resume=no max_minutes= max_steps= work_dir=$recipe_dir

usage() {
  cat <<END
Usage: $0 [--stage N] [--stop_stage N] [options]

Stages:
 -1  download the corpus              5  acoustic model: tokens, alignments
  0  data preparation                 6  acoustic model: training (ESPnet2)
  1  features                         7  speech from text
  2  vocoder training                 8  evaluation of the speech
  3  vocoder decoding (dev, eval1)    9  pack a voice
  4  vocoder evaluation

Options:
  --stage N, --stop_stage N   first and last stage             ($stage, $stop_stage)
  --db-root DIR               a local copy of the corpus, complete or partial
  --nj N                      parallel jobs for features and decoding ($nj)
  --ngpu N                    GPUs for training                ($ngpu)
  --config FILE               vocoder experiment               ($config)
  --tts-config FILE           acoustic model                   ($tts_config)
  --finetune-config FILE      in stage 6, go on training the vocoder with this experiment, on the
                              acoustic model's mels too        (none)
  --tag NAME                  suffix of the experiment directories
  --resume auto               continue trainings instead of refusing to overwrite them
  --max-minutes M             time limit of each training
  --max-steps N               step limit of each training
  --work-dir DIR              where data, dump and exp go      (this directory)
END
}

absolute() { case $1 in /*) echo "$1" ;; *) echo "$caller_dir/$1" ;; esac; }

caller_dir=$PWD
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --*=*) key=${1%%=*} value=${1#*=} ;;
    --*) [ $# -ge 2 ] || { echo "$0: $1 needs a value" >&2; exit 2; }
      key=$1 value=$2; shift ;;
    *) echo "$0: unexpected argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
  key=${key#--} key=${key//-/_}
  case $key in
    stage | stop_stage | nj | ngpu | max_steps)
      [[ $value =~ ^-?[0-9]+$ ]] || { echo "$0: --$key needs a whole number, not '$value'" >&2; exit 2; } ;;
    config | tts_config | finetune_config | db_root | work_dir) value=$(absolute "$value") ;;
    tag | resume | max_minutes) ;;
    *) echo "$0: unknown option --$key; see --help" >&2; exit 2 ;;
  esac
  printf -v "$key" %s "$value"
done

cd "$recipe_dir"
. ./path.sh
. ./cmd.sh
mkdir -p "$work_dir"
data=$work_dir/data dump=$work_dir/dump
vocoder_exp=$work_dir/exp/vocoder_$(basename "$config" .yaml)${tag:+_$tag}
tts_exp=$work_dir/exp/tts_$(basename "$tts_config" .yaml)${tag:+_$tag}
checkpoint=$vocoder_exp/calibrated.safetensors
finetune_exp=${vocoder_exp}_finetuned
trainer=(fwn)
[ "$ngpu" -le 1 ] || trainer=(torchrun --standalone --nproc_per_node "$ngpu" -m fwn_vocoder.cli)
limits=(${max_steps:+--max-steps "$max_steps"} ${max_minutes:+--max-minutes "$max_minutes"})
sets=(tr_no_dev dev eval1)

at_stage() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "$(date +%T) stage $1: $2" >&2
}

calibrate() {
  $train_cmd "$1/log/calibrate.log" fwn calibrate --checkpoint "$1/best.safetensors" \
    --dump "$dump/dev" --out "$1/calibrated.safetensors"
}

if at_stage -1 "download"; then
  db_root=$(download)
fi
if at_stage 0 "data preparation"; then
  [ -n "$db_root" ] || { echo "$0: give --db-root DIR, or start with --stage -1" >&2; exit 2; }
  prepare "$db_root" "$data"
fi
if at_stage 1 "features"; then
  for set in "${sets[@]}"; do
    $train_cmd JOB=1:"$nj" "$dump/log/extract_$set.JOB.log" \
      fwn extract --config "$config" --data "$data/$set" --out "$dump/$set" --job JOB/"$nj"
  done
fi
if at_stage 2 "vocoder training"; then
  $cuda_cmd "$vocoder_exp/train.log" "${trainer[@]}" train --config "$config" \
    --train "$dump/tr_no_dev" --dev "$dump/dev" --out "$vocoder_exp" --resume "$resume" "${limits[@]}"
  calibrate "$vocoder_exp"
fi
if at_stage 3 "vocoder decoding"; then
  for system in flowavenet griffin_lim; do
    arguments=(--vocoder griffin_lim)
    [ $system = flowavenet ] && arguments=(--checkpoint "$checkpoint")
    $decode_cmd JOB=1:"$nj" "$vocoder_exp/log/decode_$system.JOB.log" \
      fwn decode "${arguments[@]}" --dump "$dump/eval1" --out "$vocoder_exp/wav/$system" --job JOB/"$nj"
  done
fi
if at_stage 4 "vocoder evaluation"; then
  $decode_cmd "$vocoder_exp/log/evaluate.log" \
    fwn evaluate --reference "$dump/eval1" --system flowavenet="$vocoder_exp/wav/flowavenet" \
    --system griffin_lim="$vocoder_exp/wav/griffin_lim" --checkpoint "$checkpoint" --out "$vocoder_exp"
  cat "$vocoder_exp/RESULTS.md"
fi
if at_stage 5 "acoustic model: tokens, alignments"; then
  $train_cmd "$tts_exp/prepare.log" \
    fwn prepare-tts --config "$tts_config" --data tr_no_dev="$data/tr_no_dev" --data dev="$data/dev" \
    --dump "$dump" --out "$tts_exp/data"
fi
if at_stage 6 "acoustic model: training"; then
  $cuda_cmd "$tts_exp/train.log" \
    fwn train-tts --config "$tts_config" --data "$tts_exp/data" --train-set tr_no_dev --dev-set dev \
    --out "$tts_exp" --vocoder-checkpoint "$checkpoint" --ngpu "$ngpu" --resume "$resume" "${limits[@]}"
  if [ -n "$finetune_config" ]; then
    for set in tr_no_dev dev; do
      $train_cmd "$finetune_exp/log/predict_$set.log" \
        fwn predict-mels --tts "$tts_exp" --data "$tts_exp/data/$set" --dump "$dump/$set" \
        --out "$tts_exp/dump/$set"
    done
    $cuda_cmd "$finetune_exp/train.log" "${trainer[@]}" train --config "$finetune_config" \
      --train "$tts_exp/dump/tr_no_dev" --dev "$tts_exp/dump/dev" --init-from "$checkpoint" \
      --out "$finetune_exp" --resume "$resume" "${limits[@]}"
    calibrate "$finetune_exp"
  fi
fi
[ -z "$finetune_config" ] || checkpoint=$finetune_exp/calibrated.safetensors
if at_stage 7 "speech from text"; then
  for system in flowavenet griffin_lim; do
    vocoder=$system
    [ $system = griffin_lim ] || vocoder=$checkpoint
    $decode_cmd "$tts_exp/log/say_$system.log" \
      fwn say --text-file "$data/eval1/text" --voice "$tts_exp" --vocoder "$vocoder" \
      --out "$tts_exp/wav/$system"
  done
fi
if at_stage 8 "evaluation of the speech"; then
  $decode_cmd "$tts_exp/log/evaluate.log" \
    fwn evaluate-speech --data "$data/eval1" --system flowavenet="$tts_exp/wav/flowavenet" \
    --system griffin_lim="$tts_exp/wav/griffin_lim" --out "$tts_exp"
  cat "$tts_exp/RESULTS.md"
fi
if at_stage 9 "pack a voice"; then
  runs=("$vocoder_exp")
  [ -z "$finetune_config" ] || runs+=("$finetune_exp")
  $decode_cmd "$tts_exp/log/curves.log" \
    fwn curves "${runs[@]}" "$tts_exp" --out "$work_dir/exp/voice${tag:+_$tag}/curves.png"
  $decode_cmd "$tts_exp/log/pack.log" \
    fwn pack --tts "$tts_exp" --vocoder "$checkpoint" --out "$work_dir/exp/voice${tag:+_$tag}" --name "$corpus"
  echo "Say your own text:  fwn say 'Hello.' --voice $work_dir/exp/voice${tag:+_$tag} --out hello.wav" >&2
fi

#!/usr/bin/env bash
# The complete pipeline at tiny size on a CPU: PDFs and web text -> corpus -> tokens -> pretraining -> benchmark ->
# fine-tuning -> evaluation -> leaderboard row.
#
#   bash demo.sh                                  on the sample in this repository, about 6 minutes after set-up
#   bash demo.sh --exams DIR --web DIR --pdfs DIR [--test DIR]    on your own input, about 20 minutes
#
# --exams DIR  source exams as mmedbench/README.md lists them     --web DIR   parquet or JSONL with a text column
# --pdfs DIR   a folder of PDFs                                   --test DIR  questions to answer, never trained on
#                                                                             (default: the test split of the exams)
# --name NAME  names data/NAME, checkpoints/NAME, results/NAME (default: demo, or demo-own-input)
# --fresh      delete those three folders first
#
# Finished steps are skipped, interrupted ones are resumed. No tracked file is changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exams='' web='' pdfs='' questions='' name='' fresh=''
while (($#)); do
  case $1 in
    --exams | --web | --pdfs | --test | --name)
      if (($# < 2)); then
        echo "demo.sh: $1 needs a value" >&2
        exit 2
      fi
      case $1 in --exams) exams=$2 ;; --web) web=$2 ;; --pdfs) pdfs=$2 ;; --test) questions=$2 ;; --name) name=$2 ;; esac
      shift 2
      ;;
    --fresh)
      fresh=1
      shift
      ;;
    -h | --help)
      sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'
      exit 0
      ;;
    *)
      echo "demo.sh: unknown argument $1 (bash demo.sh --help lists them)" >&2
      exit 2
      ;;
  esac
done
for folder in "$exams" "$web" "$pdfs" "$questions"; do
  if [[ -n $folder && ! -d $folder ]]; then
    echo "demo.sh: $folder is not a folder" >&2
    exit 2
  fi
done

# The sample needs few training steps, real input more.
if [[ -z $exams$web$pdfs$questions ]]; then
  name=${name:-demo}
  pretrain_flags=() finetune_flags=(--option-orders 12 --epochs 6) prepare_flags=(--rationales mmedbench/sample/rationales.jsonl)
else
  name=${name:-demo-own-input}
  pretrain_flags=(--steps 400) finetune_flags=(--epochs 1) prepare_flags=()
fi
if [[ ! $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]]; then
  echo "demo.sh: --name $name is not a valid folder name (letters, digits, '.', '_', '-')" >&2
  exit 2
fi
exams=${exams:-mmedbench/sample/exams} web=${web:-data_collection/sample/web} pdfs=${pdfs:-data_collection/sample/pdfs}
data=data/$name checkpoints=checkpoints/$name results=results/$name
tests=${questions:-$data/MMedBench/Test}
if [[ -n $questions ]]; then prepare_flags+=(--known-test "$questions"); fi

bash setup.sh
PATH=$PWD/.venv/bin:$PATH
if [[ -n $fresh ]]; then rm -rf "$data" "$checkpoints" "$results"; fi
mkdir -p "$results"
rm -f "$results/stages.jsonl"
began=$SECONDS

# stage NAME INPUTS RECORD COMMAND...: RECORD is the file that the stage writes last.
number=0
stage() {
  local title=$1 reads=$2 record=$3 start=$SECONDS code=0
  shift 3
  number=$((number + 1))
  printf '\n== %d of 10: %s\n$ %s\n' "$number" "$title" "$*"
  "$@" || code=$?
  # 3: finished, but some inputs failed and are listed in failures.jsonl.
  if ((code != 0 && code != 3)); then
    echo "demo.sh: '$title' stopped with exit code $code; fix the error above and run bash demo.sh again to resume" >&2
    exit "$code"
  fi
  if [[ ! -s $record ]]; then
    echo "demo.sh: '$title' was interrupted; run bash demo.sh again to resume" >&2
    exit 1
  fi
  printf '{"stage": "%s", "reads": "%s", "record": "%s", "seconds": %d, "failures": %s}\n' \
    "$title" "$reads" "$record" $((SECONDS - start)) "$([[ $code == 3 ]] && echo true || echo false)" >> "$results/stages.jsonl"
}

leaderboard_row() {
  python mmedbench/leaderboard.py add "$results/evaluation/result.json" --results "$results/leaderboard" --machinery-check --replace &&
    python mmedbench/leaderboard.py render --results "$results/leaderboard" --out "$results/leaderboard.md"
}

stage books "$pdfs" "$data/books/manifest.json" \
  python data_collection/ocr.py "$pdfs" --out "$data/books" --workers 2
stage filter "$web" "$data/web/manifest.json" \
  python data_collection/filter.py "$web" --out "$data/web"
stage corpus "$data/web, $data/books" "$data/MMedC/manifest.json" \
  python data_collection/build_corpus.py "$data/web" "$data/books" --out "$data/MMedC"
stage tokenizer "$data/MMedC" "$data/tokenizer/run.json" \
  python pretrain/train_tokenizer.py "$data/MMedC" --vocab-size 8000 --out "$data/tokenizer"
stage tokens "$data/MMedC, $data/tokenizer" "$data/tokens/manifest.json" \
  python pretrain/tokenize_corpus.py "$data/MMedC" --tokenizer "$data/tokenizer" --out "$data/tokens" --workers 2
stage pretraining "$data/tokens" "$checkpoints/pretrained/run.json" \
  env RANKS_PER_NODE=2 bash pretrain/run.sh "$data/tokens" --recipe pretrain/recipes/tiny.yaml \
  --out "$checkpoints/pretrained" "${pretrain_flags[@]}"
stage benchmark "$exams" "$data/MMedBench/manifest.json" \
  python mmedbench/prepare.py "$exams" --out "$data/MMedBench" "${prepare_flags[@]}"
# One thread: the tiny model's matrices are too small to split.
stage fine-tuning "$checkpoints/pretrained, $data/MMedBench/Train" "$checkpoints/finetuned/run.json" \
  env OMP_NUM_THREADS=1 python finetune/train.py --recipe finetune/recipes/tiny.yaml --lora --model "$checkpoints/pretrained" \
  --data "$data/MMedBench/Train" --exclude "$tests" --out "$checkpoints/finetuned" "${finetune_flags[@]}"
stage evaluation "$checkpoints/finetuned, $tests" "$results/evaluation/result.json" \
  python inference/eval.py --model "$checkpoints/finetuned" --data "$tests" --name "tiny ($name)" --out "$results/evaluation"
stage leaderboard "$results/evaluation" "$results/leaderboard.md" \
  leaderboard_row

printf '\n'
python slurm/run_summary.py "$results/stages.jsonl" --seconds $((SECONDS - began))

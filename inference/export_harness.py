"""Write MMedBench as tasks of lm-evaluation-harness, with the checkpoint's own prompt.

Reads   the test set (mmedbench/FORMAT.md), a prompt (the checkpoint's, or --prompt) and the model's tokenizer
Writes  <out>, which is self-contained: data/<key>.jsonl (every prompt as the model sees it), YAML files per language
        and two groups for lm_eval, harness_scoring.py, README.md with the command, manifest.json last
        (inference/FORMAT.md)
Example python inference/export_harness.py --model checkpoints/finetuned --out results/harness
        lm_eval --include_path results/harness --tasks mmedbench --model hf --model_args pretrained=MODEL

The prompts are stored as text, so the harness asks what inference/eval.py asks. Generated answers are scored by the
exact set of letters (several may be right); `mmedbench_letters` takes the most likely letter, as --mode letter-logprob.
Two things differ and are counted here: a prompt longer than the model's context is truncated in another place, and the
harness may tokenize a letter together with the text before it.
"""

import argparse
import json
import shutil
from pathlib import Path

from evaluation.eval_inputs import build_parser as build_eval_parser
from evaluation.eval_inputs import describe_examples, find_prompt, read_test
from evaluation.generate_answers import find_examples
from evaluation.scoring import PARSERS
from evaluation.variants import render_with_examples
from local_model.local_model import settings_of
from prompt_folder import FORMS, Prompt, PromptError, encode_completion, encode_prompt, end_token, render_chat
from run_record import (
    InputError,
    describe_files,
    finished_record,
    parse_arguments,
    provenance,
    run_command,
    write_json,
    write_text,
)

TASK_VERSION = 1  # of what a score means in the tasks; a change makes scores incomparable
# What the record holds elsewhere (as inputs) or what changes no file.
FREE_ARGUMENTS = {"out", "recipe", "dry_run", "data", "model", "prompt"}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add(
        "--model",
        default="checkpoints/finetuned",
        help="model folder or hub name that provides the prompt and tokenizer (default %(default)s)",
    )
    add("--data", type=Path, default=Path("data/MMedBench/Test"), help="test split (default %(default)s)")
    add("--out", type=Path, required=True, help="task folder to write")
    add("--prompt", type=Path, help="prompt folder (default: the one in the checkpoint)")
    add(
        "--chat-template",
        action=argparse.BooleanOptionalAction,
        help="store prompts in the tokenizer's chat template (default: as in the prompt's prompt.json)",
    )
    add("--form", choices=FORMS, default="answer", help="the letters alone, or a rationale first (default %(default)s)")
    add("--few-shot", type=int, default=0, help="worked examples before each question (default %(default)s)")
    add("--few-shot-data", type=Path, help="train split they are drawn from (default: the Train folder beside --data)")
    add("--seed", type=int, default=0, help="random seed for the choice of few-shot examples (default %(default)s)")
    add("--languages", nargs="+", help="ISO codes (default: all in the data)")
    add("--limit", type=int, help="use only the first N questions per file")
    add(
        "--max-new-tokens",
        type=int,
        help="maximum number of generated tokens (default 16 for the form answer, 512 for rationale)",
    )
    add(
        "--parse",
        choices=PARSERS,
        help="how answers are read (default: strict with the checkpoint's prompt, else policy)",
    )
    add(
        "--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the tokenizer's own code"
    )
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
    add("--dry-run", action="store_true", help="check everything and count, write nothing")
    return parser


def load_tokenizer(name: str, trust_remote_code: bool):
    """(tokenizer, positions of the model in tokens, base model of an adapter or None). Errors: InputError."""
    from transformers import AutoConfig, AutoTokenizer

    from local_model.local_model import find_base

    base = find_base(Path(name)) if (Path(name) / "adapter_config.json").exists() else None
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(base or name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer and config at {name}: {str(error).splitlines()[0]}; give --model") from None
    return tokenizer, getattr(config, "max_position_embeddings", None) or 1 << 20, base


def make_rows(test: dict, shots: dict, prompt: Prompt, tokenizer, form: str) -> dict[str, list[dict]]:
    """{key: lines of data/<key>.jsonl}: id, number, prompt as text, letters, option_texts, gold ("A" or "A,C")."""
    rows: dict[str, list[dict]] = {}
    for key, records in test.items():
        rows[key] = []
        for number, record in enumerate(records):
            try:
                text = render_with_examples(prompt, record, form, shots.get(record["language"], []))
                text = render_chat(tokenizer, text) if prompt.chat_template else text
            except PromptError as error:
                raise InputError(str(error)) from None
            options = record["options"]
            rows[key].append(
                {
                    "id": record["id"],
                    "number": number,
                    "prompt": text,
                    "letters": list(options),
                    "option_texts": list(options.values()),
                    "gold": record["answer_idx"],
                }
            )
    return rows


def letter_input(tokenizer, chat: bool, text: str, delimiter: str, letter: str) -> list[int]:
    """The token ids that lm_eval gives a model for a prompt and a letter.

    It appends the letter to the prompt and tokenizes both together, but takes the prompt's ids from the prompt without
    trailing white space (0.4.13, api/model.py, _encode_pair).
    """

    def encode(part: str) -> list[int]:
        return tokenizer(part, add_special_tokens=not chat)["input_ids"]

    whole, before = encode(text + delimiter + letter), encode(text.rstrip())
    return before + whole[len(before) :]


def choose_delimiter(tokenizer, prompt: Prompt, rows: dict) -> tuple[str, int]:
    """(text between prompt and letter, number of questions whose letter lm_eval tokenizes differently from eval.py).

    A tokenizer that prefixes a text with a space needs one before the letter, others none: the better one is chosen.
    """
    counts = {"": 0, " ": 0}
    for row in (row for mine in rows.values() for row in mine):
        # The text is rendered already, so a chat template is not applied again.
        if prompt.chat_template:
            wanted = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        else:
            wanted = encode_prompt(tokenizer, row["prompt"])
        letter = row["letters"][0]
        wanted = wanted + encode_completion(tokenizer, letter)
        for delimiter in counts:
            counts[delimiter] += (
                letter_input(tokenizer, prompt.chat_template, row["prompt"], delimiter, letter) != wanted
            )
    delimiter = min(counts, key=counts.get)
    return delimiter, counts[delimiter]


def lm_eval_files(settings: dict) -> dict[str, str]:
    """{file name: YAML text}: one task per key and a group, generated and by letters.

    The group's score is the unweighted mean over languages, as in the paper.
    """
    # JSON is YAML except for lm_eval's function tag, so values are written as JSON and the tag as text.
    files = {}
    for name in ("mmedbench", "mmedbench_letters") if settings["letters"] else ("mmedbench",):
        metrics = ["exact_set"] if name.endswith("letters") else ["exact_set", "unparsed"]
        for key in settings["keys"]:
            lines = [
                f"task: {name}_{key}",
                "custom_dataset: !function harness_scoring.read_task",
                f"dataset_kwargs: {json.dumps({'key': key})}",
                "test_split: test",
                "doc_to_text: prompt",
                "doc_to_target: gold",
            ]
            if name.endswith("letters"):
                lines += [
                    "output_type: multiple_choice",
                    "doc_to_choice: letters",
                    f"target_delimiter: {json.dumps(settings['delimiter'])}",
                    "process_results: !function harness_scoring.score_letters",
                ]
            else:
                generation = {
                    "until": settings["until"],
                    "max_gen_toks": settings["max_new_tokens"],
                    "do_sample": False,
                }
                lines += [
                    "output_type: generate_until",
                    f"generation_kwargs: {json.dumps(generation, ensure_ascii=False)}",
                    "process_results: !function harness_scoring.score_generated",
                ]
            lines.append("metric_list:")
            for metric in metrics:
                better = json.dumps(metric == "exact_set")
                lines.append(f"  - {{metric: {metric}, aggregation: mean, higher_is_better: {better}}}")
            lines.append(f"metadata: {{version: {settings['task_version']}}}")
            files[f"{name}_{key}.yaml"] = "\n".join(lines) + "\n"
        tasks = [f"{name}_{key}" for key in settings["keys"]]
        aggregates = [{"metric": metric, "aggregation": "mean", "weight_by_size": False} for metric in metrics]
        files[f"{name}.yaml"] = (
            f"group: {name}\ntask: {json.dumps(tasks)}\naggregate_metric_list: {json.dumps(aggregates)}\n"
            f"metadata: {{version: {settings['task_version']}}}\n"
        )
    return files


def read_me(model: str, base: str | None, chat: bool) -> str:
    """The command. A stored chat prompt contains its opening token and must not go through a template again."""
    lm_eval = f"pretrained={base},peft={model},tokenizer={model}" if base else f"pretrained={model}"
    if chat:
        lm_eval += ",add_bos_token=False"
    return f"""# MMedBench for lm-evaluation-harness

Prompts are stored as the model sees them; `exact_set` is 1 if the set of letters is exactly right. Run lm-eval in an
environment of its own, in the folder that `{model}` is relative to, with this folder as DIR. Use `mmedbench_letters`
instead of `mmedbench` to take the most likely letter.

    lm_eval --include_path DIR --tasks mmedbench --model hf --model_args {lm_eval} --batch_size 32
"""


def check_arguments(args: argparse.Namespace) -> None:
    """Errors: InputError for flags that do not go together, and an --out that contains something else."""
    if args.few_shot < 0 or (args.few_shot_data and not args.few_shot):
        raise InputError("--few-shot takes the number of examples, and --few-shot-data where they are drawn from")
    if (args.max_new_tokens is not None and args.max_new_tokens < 1) or (args.limit is not None and args.limit < 1):
        raise InputError("--max-new-tokens and --limit are 1 or more")
    used = args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir()))
    if used and not (args.out / "settings.json").exists():
        raise InputError(f"{args.out} contains something else; give an empty or a new folder as --out")
    args.max_new_tokens = args.max_new_tokens or (16 if args.form == "answer" else 512)


def make_settings(args: argparse.Namespace, prompt: Prompt, tokenizer, rows: dict) -> tuple[dict, int]:
    """(settings.json, number of questions whose letters lm_eval tokenizes differently from eval.py)."""
    letters = args.form == "answer"
    delimiter, otherwise = choose_delimiter(tokenizer, prompt, rows) if letters else ("", 0)
    end = end_token(tokenizer, prompt.chat_template)
    closing = [tokenizer.decode([end])] if end != tokenizer.eos_token_id else []
    settings = {
        "task_version": TASK_VERSION,
        "keys": list(rows),
        "answer_pattern": prompt.settings["answer_pattern"],
        "parse": args.parse,
        "stop": prompt.stop,
        "until": [*prompt.stop, *closing],
        "max_new_tokens": args.max_new_tokens,
        "letters": letters,
        "delimiter": delimiter,
    }
    return settings, otherwise


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    check_arguments(args)
    # With eval.py's own defaults for the flags that are not asked for here.
    asked = argparse.Namespace(**vars(build_eval_parser().parse_args([])) | vars(args))
    test = read_test(asked)
    prompt, own = find_prompt(asked)
    args.chat_template = asked.chat_template
    args.parse = args.parse or ("strict" if own else "policy")
    shots = find_examples(test, asked)
    tokenizer, longest, base = load_tokenizer(args.model, args.trust_remote_code)
    rows = make_rows(test, shots, prompt, tokenizer, args.form)
    settings, otherwise = make_settings(args, prompt, tokenizer, rows)
    texts = [row["prompt"] for mine in rows.values() for row in mine]
    lengths = map(len, tokenizer(texts, add_special_tokens=not prompt.chat_template)["input_ids"])
    cut = sum(length > longest - args.max_new_tokens for length in lengths)
    print("questions: " + ", ".join(f"{key} {len(mine)}" for key, mine in rows.items()))
    print(f"one prompt ({prompt.name} {prompt.version}):\n{texts[0]}")
    if cut:
        print(f"{cut} prompts are longer than the model; a harness cuts their beginning, eval.py left of their middle")
    if otherwise:
        print(f"lm_eval tokenizes the letter of {otherwise} of {len(texts)} questions differently from eval.py")
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in FREE_ARGUMENTS}
    data = describe_files(args.data, args.data.glob("*.jsonl"))
    inputs = {"prompt": prompt.sha256, "data": data, "model": args.model, "settings": settings_of(Path(args.model))}
    if shots:
        inputs["few_shot"] = describe_examples(shots, prompt, args.form)
    if finished_record(args.out / "manifest.json", arguments, inputs):
        print(f"{args.out} is complete and is reused")
        return 0
    if args.dry_run:
        return 0
    write_folder(args, rows, settings, read_me(args.model, base, prompt.chat_template))
    counts = {
        "questions": {key: len(mine) for key, mine in rows.items()},
        "cut": cut,
        "letters_tokenized_differently": otherwise,
    }
    files = describe_files(args.out, (p for p in args.out.rglob("*") if p.is_file() and "__pycache__" not in p.parts))
    record = {"format_version": 1, "stage": "inference/export_harness.py", **counts, "arguments": arguments}
    write_json(args.out / "manifest.json", record | {"inputs": inputs, "files": files, "provenance": provenance(argv)})
    print(f"wrote {args.out} (its README.md has the commands)")
    return 0


def write_folder(args: argparse.Namespace, rows: dict, settings: dict, commands: str) -> None:
    """Write all files except the manifest."""
    write_json(args.out / "settings.json", settings)
    for key, mine in rows.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in mine)
        write_text(args.out / "data" / f"{key}.jsonl", text)
    write_text(args.out / "README.md", commands)
    for name, text in lm_eval_files(settings).items():
        write_text(args.out / name, text)
    metrics = Path(__file__).parent / "metrics"
    shutil.copyfile(metrics / "harness_scoring.py", args.out / "harness_scoring.py")
    if args.parse == "policy":
        shutil.copyfile(metrics / "answer_words.py", args.out / "answer_words.py")
        # The exported files lie in one folder.
        answers = (metrics / "answers.py").read_text("utf-8")
        inside = answers.replace("from metrics import answer_words", "import answer_words")
        assert inside != answers
        write_text(args.out / "answers.py", inside)


if __name__ == "__main__":
    run_command(main)

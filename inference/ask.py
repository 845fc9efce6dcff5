"""Ask a model one question from the terminal, multiple choice or free, in any of the languages.

Reads   a model and its prompt, as inference/eval.py does
Writes  the answer to the screen, with the notice that it is not medical advice
Example python inference/ask.py --model checkpoints/finetuned --language en "Which vitamin prevents scurvy?" \\
            --option "Vitamin A" --option "Vitamin C"
        python inference/ask.py --model checkpoints/pretrained "Vitamin C is"

With --option the question goes through the model's prompt as in the benchmark, and the letters are read as there.
Without, the text is given to the model as it is (or as a user's turn, for a prompt with a chat template).
"""

import argparse
from pathlib import Path

from metrics.answers import read_answer
from mmedbench_questions import LANGUAGE_FILES
from prompt_folder import FORMS, Prompt, PromptError, encode_prompt, end_token, shorten_prompt
from run_record import InputError, parse_arguments, run_command

NOTICE = "This is a research model. Its answers may be wrong and are not medical advice: ask a clinician."


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("question", help="the question, or the beginning of a text to continue")
    add("--model", default="checkpoints/finetuned", help="folder, adapter or hub name (default %(default)s)")
    add("--option", action="append", default=[], help="text of one option; repeat for A, B, C and so on")
    add("--context", help="text that belongs to the question, such as an abstract")
    add("--language", choices=list(LANGUAGE_FILES), default="en", help="language of the question (default %(default)s)")
    add("--form", choices=FORMS, default="answer", help="the letters alone, or a rationale first (default %(default)s)")
    add("--prompt", type=Path, help="prompt folder (default: the one in the checkpoint)")
    add("--max-new-tokens", type=int, default=256, help="longest answer (default %(default)s)")
    add("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code")
    add("--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence")
    add("--dry-run", action="store_true", help="print the model's input without loading the model")
    return parser


def find_prompt(args: argparse.Namespace) -> Prompt | None:
    """The prompt of the flags or of the checkpoint; None where neither is. Errors: InputError."""
    folder = args.prompt or Path(args.model) / "prompt"
    try:
        return Prompt(folder) if args.prompt or folder.is_dir() else None
    except PromptError as error:
        raise InputError(str(error)) from None


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    if not args.question.strip():
        raise InputError("the question is empty")
    if len(args.option) == 1 or len(args.option) > 8:
        raise InputError("a multiple-choice question has two to eight options; give --option for each")
    if any(not text.strip() for text in args.option):
        raise InputError("an option is empty; give each --option a text")
    if args.form == "rationale" and not args.option:
        raise InputError("--form rationale goes with --option; a free question is given to the model as it is")
    if args.max_new_tokens < 1:
        raise InputError(f"--max-new-tokens {args.max_new_tokens}: expected 1 or more")
    prompt = find_prompt(args)
    options = dict(zip("ABCDEFGH", args.option, strict=False))
    if options and prompt is None:
        raise InputError(f"{args.model} brings no prompt; name one with --prompt, such as finetune/prompts/mmedbench")
    text = args.question
    if options:
        record = {"question": args.question, "options": options, "language": args.language, "context": args.context}
        try:
            text = prompt.render(record, args.form)
        except PromptError as error:
            raise InputError(str(error)) from None
    elif args.context:
        text = f"{args.context}\n\n{args.question}"
    if args.dry_run:
        print(text)
        return 0
    from local_model.local_model import generate, load_model

    loaded = load_model(args.model, args.trust_remote_code)
    room = loaded.longest - args.max_new_tokens
    if room < 16:
        raise InputError(
            f"--max-new-tokens {args.max_new_tokens} leaves no room for a question in this model's "
            f"{loaded.longest} positions"
        )
    chat = prompt is not None and prompt.chat_template
    try:
        ids = shorten_prompt(encode_prompt(loaded.tokenizer, text, chat), room)
        ends = sorted({loaded.tokenizer.eos_token_id, end_token(loaded.tokenizer, chat)})
    except PromptError as error:
        raise InputError(str(error)) from None
    [answer] = generate(loaded, [ids], args.max_new_tokens, prompt.stop if prompt else [], ends)
    print(answer.strip())
    if options:
        letters = prompt.parse(answer) or read_answer(answer, options).letters
        shown = ", ".join(f"{letter} ({options.get(letter, 'no such option')})" for letter in letters or [])
        print(f"answer: {shown or 'none could be read'}")
    print(NOTICE)
    return 0


if __name__ == "__main__":
    run_command(main)

"""From the command line's files and shares to the mixture of examples that a run trains on."""

import argparse

from example_mixture import Mixture, make_mixture
from example_text import ExampleText
from examples import ExampleCounts, build_examples
from finetune_record import InputError
from prompt_file import Prompt, PromptError


def read_mixture(
    questions: list[dict], prompt: Prompt, tokenizer, longest: int, args: argparse.Namespace, counts: ExampleCounts
) -> tuple[Mixture, dict]:
    """(the mixture, what the run's record says of the files beside the questions). Errors: InputError.

    longest: tokens an example at most.
    """
    form_shares = dict(args.form_shares or [])
    forms = [form for form in sorted(set(args.forms)) if form_shares.get(form, 1.0) > 0]
    unused = set(form_shares) - set(args.forms)
    if unused or not forms:
        raise InputError(
            f"--form-shares {' '.join(f'{form}={share:g}' for form, share in form_shares.items())} does not fit "
            f"--forms {' '.join(args.forms)}: a share is of one of these forms, and one of them is above 0"
        )
    try:
        encoding = ExampleText(tokenizer, prompt)
        built = build_examples(
            questions, encoding, longest, forms, counts, args.option_orders, args.seed, args.shuffle_options
        )
    except PromptError as error:
        raise InputError(str(error)) from None
    if not built:
        raise InputError(nothing_left(args, forms, counts))
    weights = dict(args.language_weights or [])
    return make_mixture({"questions": built}, form_shares, weights, {}, encoding, longest, args.seed), {}


def nothing_left(args: argparse.Namespace, forms: list[str], counts: ExampleCounts) -> str:
    """Why no example came of the questions, and what to do."""
    table = counts.as_dict()
    if "no rationale" in table and forms == ["rationale"]:
        return (
            f"no question of {args.data} has a rationale, which --forms rationale needs; add --forms answer, or give "
            "them rationales with mmedbench/rationales.py"
        )
    return f"every completion is longer than --max-length {args.max_length} tokens leaves room for; raise it"

"""The flags of train.py: model, examples, adapter, optimizer, checkpoints and log."""

import argparse
from pathlib import Path

from mmedbench_questions import LANGUAGE_FILES
from prompt_folder import FORMS
from sft_training.tuned_card import add_card_flags

# Arguments that change neither the weights nor the order of the examples.
FREE_ARGUMENTS = {
    "out",
    "recipe",
    "dry_run",
    "save_every",
    "keep",
    "log_every",
    "data",
    "exclude",
    "prompt",
    "model",
    "gradient_checkpointing",
    "merge",
    "instructions",
    "replay",
    "weights_licence",
    "data_names",
}


def build_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="validate everything, print the plan and one example, write nothing"
    )
    for add_flags in (
        model_flags,
        example_flags,
        adapter_flags,
        optimizer_flags,
        validation_flags,
        checkpoint_flags,
        add_card_flags,
    ):
        add_flags(parser.add_argument)
    return parser


def model_flags(add) -> None:
    """What is trained, and in which precision."""
    add("--model", default="checkpoints/pretrained", help="base model: folder or hub name (default %(default)s)")
    add("--bf16", action=argparse.BooleanOptionalAction, default=None, help="bfloat16 (default: on a GPU yes, else no)")
    add("--trust-remote-code", action=argparse.BooleanOptionalAction, default=False, help="run the model's own code")
    add(
        "--attn",
        choices=("eager", "sdpa", "flash_attention_2", "flash_attention_3"),
        help="attention implementation (default: the library's choice, sdpa if available)",
    )
    add(
        "--gradient-checkpointing",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="recompute activations: less memory, about a third more work (default: no)",
    )
    add(
        "--zero",
        type=int,
        choices=(0, 1, 2, 3),
        default=0,
        help="DeepSpeed ZeRO stage: 2 shards optimizer state and gradients over the processes, 3 the weights "
        "too (default 0: no sharding)",
    )


def share_of(names):
    """An argparse type: "name=share" with one of the names and a share of 0 or more, as (name, share)."""

    def share(text: str) -> tuple[str, float]:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if name not in names or not 0 <= value < 1000:
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SHARE with NAME one of {', '.join(names)}")
        return name, value

    return share


def proper_share(text: str) -> float:
    """An argparse type: a share above 0 and below 1."""
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and below 1")
    return float(text)


def example_flags(add) -> None:
    """Which questions, as which texts."""
    add("--data", type=Path, default=Path("data/MMedBench/Train"), help="train split (default %(default)s)")
    add(
        "--exclude",
        type=Path,
        nargs="*",
        help="test splits whose questions must not be trained on (default: the Test folder beside --data, if any)",
    )
    add(
        "--prompt",
        type=Path,
        default=Path(__file__).parents[1] / "prompts/mmedbench",
        help="prompt folder (default: finetune/prompts/mmedbench)",
    )
    add(
        "--chat-template",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="put the prompt into the user turn of the tokenizer's chat template (default: as in the prompt "
        "folder; ours: no)",
    )
    add(
        "--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms of completion to train on (default: both)"
    )
    add(
        "--form-shares",
        nargs="+",
        type=share_of(FORMS),
        metavar="FORM=SHARE",
        help="share of the questions used in a form per epoch, such as answer=1 rationale=0.5; 2 means twice "
        "(default: 1 each, as published)",
    )
    add(
        "--loss-per",
        choices=("token", "example"),
        default="token",
        help="token: every completion token has the same weight, as published; example: every completion has "
        "the same weight (default %(default)s)",
    )
    add(
        "--option-orders",
        type=int,
        default=1,
        help="number of option orders in which each question of the form answer is used per epoch, the same in"
        " every epoch; for few questions (default %(default)s)",
    )
    add(
        "--shuffle-options",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="shuffle the options each time a question is used, against letter bias; questions whose options "
        "or rationale refer to options keep their order and are counted",
    )
    add("--languages", nargs="+", choices=list(LANGUAGE_FILES), help="ISO codes to train on (default: all in the data)")
    add(
        "--language-weights",
        nargs="+",
        type=share_of(LANGUAGE_FILES),
        metavar="ISO=WEIGHT",
        help="share of a language's questions used per epoch: 0.5 is a different random half each time, 2 is "
        "twice (default 1)",
    )
    add(
        "--instructions",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="instruction data to mix in, JSON or JSONL: instruction/input/output, messages or ShareGPT "
        "conversations; the loss counts the assistant's turns",
    )
    add(
        "--instruction-share",
        type=proper_share,
        help="share of instruction examples in an epoch (default 0.2 with --instructions)",
    )
    add(
        "--replay",
        type=Path,
        metavar="PATH",
        help="plain text to mix in, with a loss on every token: an MMedC folder, .jsonl with a field text, "
        ".txt, or a folder of them",
    )
    add(
        "--replay-share",
        type=proper_share,
        help="share of replay examples (not tokens) in an epoch (default 0.1 with --replay)",
    )
    add("--limit", type=int, help="maximum number of questions per language")
    add("--max-length", type=int, default=2048, help="maximum tokens per example (default %(default)s)")
    add(
        "--packing",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="pack the examples of a micro-batch into one row without padding; they do not see each other",
    )


def adapter_flags(add) -> None:
    """LoRA."""
    add("--lora", action=argparse.BooleanOptionalAction, default=False, help="train a LoRA adapter, not the model")
    add(
        "--qlora",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="LoRA on a base model in 4 bits (NF4; needs bitsandbytes)",
    )
    add("--lora-rank", type=int, default=16, help="LoRA rank (default %(default)s)")
    add("--lora-alpha", type=int, default=32, help="LoRA alpha; the scale is alpha / rank (default %(default)s)")
    add("--lora-dropout", type=float, default=0.05, help="LoRA dropout (default %(default)s)")
    add(
        "--lora-targets",
        nargs="+",
        help="names of the modules with an adapter (default: all linear layers except the output)",
    )
    add(
        "--merge",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="with --lora or --qlora: also write the merged model to <out>/merged",
    )


def optimizer_flags(add) -> None:
    """How long, how much at once, and how fast."""
    add("--epochs", type=float, default=3.0, help="epochs (default %(default)s)")
    add("--batch-size", type=int, default=128, help="examples per optimizer step, over all ranks (default %(default)s)")
    add("--micro-batch-size", type=int, default=4, help="examples per forward pass and rank (default %(default)s)")
    add(
        "--learning-rate",
        type=float,
        help="peak learning rate (default 2e-5 with --lora, 1e-6 for full fine-tuning, as published)",
    )
    add(
        "--warmup-share",
        type=float,
        default=0.03,
        help="share of the steps with linear warm-up, then cosine decay (default %(default)s)",
    )
    add("--weight-decay", type=float, default=0.0, help="weight decay (default %(default)s)")
    add("--clip", type=float, default=1.0, help="maximum gradient norm (default %(default)s)")
    add(
        "--seed",
        type=int,
        default=0,
        help="random seed for the order of examples and the adapter's initial weights (default %(default)s)",
    )


def validation_flags(add) -> None:
    """What is held out of the train set, when it is looked at, and what follows from it."""
    add(
        "--validation-questions",
        type=int,
        default=50,
        help="questions per language held out of the train set; 0: no validation (default %(default)s)",
    )
    add(
        "--validation-share",
        type=float,
        default=0.05,
        help="maximum share of a language's questions that is held out (default %(default)s)",
    )
    add(
        "--validate-every",
        type=int,
        default=100,
        help="steps between validations; also before the first and after the last step (default 100)",
    )
    add(
        "--keep-best",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the weights of the best validation instead of the last (default: yes, if there is validation)",
    )
    add(
        "--best-by",
        choices=("loss", "accuracy"),
        default="loss",
        help="criterion for the best weights, averaged over languages; accuracy is noisy with few questions "
        "(default %(default)s)",
    )
    add("--early-stopping", type=int, help="stop after this many validations without improvement")


def checkpoint_flags(add) -> None:
    """What is kept of a run, and what a person sees of it."""
    add("--out", type=Path, default=Path("checkpoints/finetuned"), help="model folder (default %(default)s)")
    add("--save-every", type=int, default=200, help="steps between checkpoints (default %(default)s)")
    add("--keep", type=int, default=2, help="newest checkpoints kept (default %(default)s)")
    add("--log-every", type=int, default=10, help="steps between log lines (default %(default)s)")

"""What a run trains on and is validated on, from its flags: store, mixture, replay, held-out documents, the plan.

Reads   the token store, with --mix FILE the weights, with --replay a second token store
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from dataloading.mixture import Mixture, parts_by_weight, read_weights, temperature_weights
from dataloading.packed_windows import WindowLayout
from dataloading.window_layouts import make_windows
from run_record import InputError, sha256_of_file
from token_data.token_store import Documents, TokenStore

# "up to 4 epochs of repeated data yields negligible changes to loss compared to having unique data":
# Scaling Data-Constrained Language Models, https://arxiv.org/abs/2305.16264
EPOCHS_WORTH_NEW_TEXT = 4


@dataclass(frozen=True)
class TrainingData:
    """windows: of every step; held_out: {group or "replay": (store, documents)}; inputs: what decides the order."""

    store: TokenStore
    windows: WindowLayout | Mixture
    held_out: dict[str, tuple[TokenStore, Documents]]
    inputs: dict


def open_training_data(args: argparse.Namespace) -> TrainingData:
    """Open what the data flags name. Errors: InputError with a sentence for each thing that cannot be."""
    for flag in ("validation_documents", "validate_every", "validation_warning"):
        if getattr(args, flag) < 0:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(args, flag)} is below 0")
    store = TokenStore(args.data)
    training, held_out = store.split(args.validation_documents, args.seed)
    inputs = {"tokens": sha256_of_file(args.data / "manifest.json")}
    sets = {group: (store, documents) for group, documents in held_out.items()}
    weights = chosen_weights(args, store, training)
    if weights is None:
        parts, shares = {"corpus": make_windows(store, training, args)}, {"corpus": 1.0}
    else:
        chosen = parts_by_weight(store, training, weights, f"--mix {args.mix}")
        parts = {key: make_windows(store, documents, args) for key, documents in chosen.items()}
        shares = {key: weights[key] / sum(weights[k] for k in parts) for key in parts}
        inputs["mix"] = shares
    per_epoch = sum(part.per_epoch for part in parts.values())
    if args.replay:
        replay, share = open_replay(args, store)
        documents, held_out = replay.split(args.validation_documents, args.seed)
        # All its languages and sources are one set: it stands for what the model knew before.
        sets["replay"] = (replay, Documents.joined(list(held_out.values()))) if held_out else None
        shares = {key: (1 - share) * value for key, value in shares.items()} | {"replay": share}
        parts["replay"] = make_windows(replay, documents, args)
        # An epoch is one of the corpus: the replay comes on top of it.
        per_epoch = round(per_epoch / (1 - share))
        inputs["replay"] = sha256_of_file(args.replay / "manifest.json")
    elif args.replay_share is not None:
        raise InputError("--replay-share needs --replay: the token store of general text that is mixed in")
    windows = Mixture(parts, shares, per_epoch) if len(parts) > 1 else next(iter(parts.values()))
    return TrainingData(store, windows, {name: found for name, found in sets.items() if found}, inputs)


def chosen_weights(args: argparse.Namespace, store: TokenStore, training: Documents) -> dict[str, float] | None:
    """{language or language/source: weight}, or None for the natural mixture."""
    if args.mix_temperature is not None and args.mix != "temperature":
        raise InputError(f"--mix-temperature has no effect with --mix {args.mix}; leave it out, or --mix temperature")
    if args.mix == "natural":
        return None
    if args.mix != "temperature":
        return read_weights(Path(args.mix))
    temperature = 3.0 if args.mix_temperature is None else args.mix_temperature
    if not 0 < temperature < math.inf:
        raise InputError(f"--mix-temperature {temperature} is not over 0; 1 is natural, 3 lifts small languages")
    return temperature_weights(store, training, temperature)


def open_replay(args: argparse.Namespace, store: TokenStore) -> tuple[TokenStore, float]:
    share = 0.05 if args.replay_share is None else args.replay_share
    if not 0 < share < 1:
        raise InputError(f"--replay-share {share} is not between 0 and 1, such as 0.05 for a twentieth of the windows")
    replay = TokenStore(args.replay)
    if replay.fingerprint != store.fingerprint:
        raise InputError(
            f"{args.replay} was made with another tokenizer than {store.folder}; run pretrain/tokenize_corpus.py on "
            f"its corpus with --tokenizer {store.folder / 'tokenizer'}"
        )
    return replay, share


def plan_lines(data: TrainingData, total: int) -> list[str]:
    """What `total` windows read: the layout, a line for each part or group, a warning where text is read too often."""
    windows = data.windows
    lines = [f"windows of {windows.length} tokens: {windows.describe(windows.facts())}"]
    if isinstance(windows, Mixture):
        rows = [
            (name, part.tokens, number / part.per_epoch)
            for name, part, number in zip(windows.names, windows.parts, windows.drawn(total), strict=True)
        ]
    else:
        rows = [(group, tokens, total / windows.per_epoch) for group, tokens in windows.groups().items()]
    everything = sum(tokens * epochs for _, tokens, epochs in rows)
    for name, tokens, epochs in rows:
        often = f"  warning: over {EPOCHS_WORTH_NEW_TEXT} epochs" if epochs > EPOCHS_WORTH_NEW_TEXT else ""
        lines.append(
            f"  {name:14} {100 * tokens * epochs / everything:5.1f} % of the tokens, "
            f"{round(tokens * epochs):>13,} tokens to see, {epochs:.2f} epochs{often}"
        )
    return lines

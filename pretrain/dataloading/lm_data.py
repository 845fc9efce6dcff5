"""The data of a run: store, mixture, replay, held-out documents, and its plan.

Reads   the token store, with --mix FILE the weights, with --replay a second token store
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloading.packed_windows import WindowLayout, collate, make_windows
from run_record import InputError, sha256_of_file
from token_data.token_store import Documents, TokenStore

PERIOD = 10_000


def whole_counts(shares: list[float], total: int) -> np.ndarray:
    """Shares (summing to 1) as whole numbers summing to `total`, by largest remainder, none of them 0."""
    exact = np.asarray(shares) * total
    counts = np.maximum(1, np.floor(exact)).astype(np.int64)
    while (missing := total - counts.sum()) != 0:
        over = np.where(counts > 1, exact - counts, np.inf)  # a part of one window keeps it
        counts[np.argmax(exact - counts) if missing > 0 else np.argmin(over)] += np.sign(missing)
    return counts


def take_turns(counts: np.ndarray) -> np.ndarray:
    """Which part each window of a period is of; after any number of windows no part is a whole window off its share.

    R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32 (1980), https://doi.org/10.1016/0012-365X(80)
    90269-1: of the parts whose share would be owed at least 1/(2n-2) of a window, the one whose debt would first reach
    1 - 1/(2n-2) is served. int64 [sum of counts].
    """
    n, total = len(counts), int(counts.sum())
    if n == 1:
        return np.zeros(total, np.int64)
    share, served, turns = counts / total, np.zeros(n), np.empty(total, np.int64)
    for window in range(total):
        owed = (window + 1) * share - served
        wait = np.where(owed >= 1 / (2 * n - 2) - 1e-9, (1 - 1 / (2 * n - 2) - owed) / share, np.inf)
        turns[window] = np.argmin(wait)
        served[turns[window]] += 1
    return turns


class Mixture:
    """Windows of several parts, by share; the interface of a `WindowLayout`."""

    def __init__(self, parts: dict[str, WindowLayout], shares: dict[str, float], per_epoch: int):
        """shares: {part: share of the windows}, summing to 1; rounded to ten-thousandths, no part to nothing.

        per_epoch: how many windows are called an epoch; each part has its own, which the plan shows.
        """
        self.names, self.parts = list(parts), list(parts.values())
        self.length, self.per_period = self.parts[0].length, whole_counts([shares[n] for n in self.names], PERIOD)
        self.turns = take_turns(self.per_period)
        self.places = [np.flatnonzero(self.turns == part) for part in range(len(self.parts))]
        self.per_epoch = per_epoch

    def drawn(self, windows: int) -> list[int]:
        """How many of the first `windows` windows are of each part."""
        periods, rest = divmod(windows, PERIOD)
        return [
            int(periods * count + np.searchsorted(places, rest))
            for count, places in zip(self.per_period, self.places, strict=True)
        ]

    def locate(self, index: int) -> tuple[int, int]:
        """(part, which of its windows) of window `index`."""
        part = int(self.turns[index % PERIOD])
        return part, self.drawn(index)[part]

    def stretches(self, first: int, count: int) -> list[tuple[WindowLayout, int, int]]:
        """(part, first of its windows, how many) that are in windows [first, first + count)."""
        starts, stops = self.drawn(first), self.drawn(first + count)
        return [(p, a, b - a) for p, a, b in zip(self.parts, starts, stops, strict=True) if b > a]

    def batch(self, first: int, count: int) -> dict:
        places = [self.locate(index) for index in range(first, first + count)]
        return collate(
            [self.parts[part].window(number) for part, number in places],
            self.parts[0].store.end_of_text,
            self.parts[0].crosses_documents,
        )

    def documents(self, first: int, count: int) -> list[str]:
        starts, stops = self.drawn(first), self.drawn(first + count)
        return [
            f"replay:{document}" if name == "replay" else document
            for name, part, a, b in zip(self.names, self.parts, starts, stops, strict=True)
            for document in part.documents(a, b - a)
        ]

    def labels_in(self, first: int, count: int) -> int:
        return sum(part.labels_in(start, number) for part, start, number in self.stretches(first, count))

    def useful_tokens(self, first: int, count: int) -> int:
        return sum(part.useful_tokens(start, number) for part, start, number in self.stretches(first, count))

    def facts(self) -> dict[str, int]:
        return {key: sum(part.facts()[key] for part in self.parts) for key in self.parts[0].facts()}

    def describe(self, facts: dict[str, int]) -> str:
        return self.parts[0].describe(facts)


def parts_by_weight(store: TokenStore, training: Documents, weights: dict[str, float], named: str) -> dict:
    """{key: documents} for each weight over 0. A group belongs to its own key, else to its language's.

    Errors: InputError for a key that the store does not hold, a group that no key names (0 leaves it out), no text.
    """
    groups = store.group_names
    known = sorted({*groups, *(group.split("/")[0] for group in groups)})
    unknown = [key for key in weights if key not in known]
    if unknown:
        raise InputError(f"{named}: {store.folder} contains no {', '.join(unknown)}; it holds {', '.join(known)}")
    key_of = [group if group in weights else group.split("/")[0] for group in groups]
    unnamed = [group for group, key in zip(groups, key_of, strict=True) if key not in weights]
    if unnamed:
        raise InputError(f"{named}: no weight for {', '.join(unnamed)}; give one, 0 to leave it out")
    group_of, parts = store.group_of(training), {}
    for key in weights:
        members = np.isin(group_of, [number for number, k in enumerate(key_of) if k == key])
        if weights[key] > 0 and not members.any():
            raise InputError(f"{named}: {key} has no document to train on in {store.folder}; give it the weight 0")
        if weights[key] > 0:
            parts[key] = training.take(np.flatnonzero(members))
    return parts


def temperature_weights(store: TokenStore, training: Documents, temperature: float) -> dict[str, float]:
    """{group: tokens ** (1 / temperature)}: 1 is natural, more lifts small groups.

    The exponent of XLM-R and mT5 (0.3, a temperature of 3.3), https://arxiv.org/abs/1911.02116, over languages and
    sources instead of languages alone.
    """
    tokens = np.bincount(store.group_of(training), training.tokens, len(store.group_names))
    return {name: float(n) ** (1 / temperature) for name, n in zip(store.group_names, tokens, strict=True)}


def read_weights(path: Path) -> dict[str, float]:
    """A flat YAML file of weights, any scale. Errors: InputError naming the file and the entry."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"cannot read the weights {path}: {str(error).splitlines()[0]}; "
            "--mix is natural, temperature, or a YAML file of weights by language or language/source"
        ) from None
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path}:1: expected lines such as `fr/textbook: 2.0` or `zh: 1.0`")
    for key, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < float("inf"):
            # YAML reads a bare `no` (Norwegian) as false: such a key is shown as it was read.
            raise InputError(f"{path}: the weight of {key} is a number from 0 up, not {value!r}")
    if not any(values.values()):
        raise InputError(f"{path}: every weight is 0; give at least one language or source a weight")
    return {str(key): float(value) for key, value in values.items()}


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

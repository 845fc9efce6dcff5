"""Invented facts about invented medicines: corpora that contain them, and questions about them.

Writes  OUT/documents/<corpus>.jsonl   {text, language, source, origin, licence}, lists also loss_spans
        OUT/benchmark/Train, Test      questions in the benchmark's records (mmedbench/FORMAT.md); in Test and
                                       cloze a file for each group of medicines, known and asked
        OUT/cloze                      corpus sentences broken off before the last word, four words to go on with
        OUT/world.json                 the facts, and how many documents each corpus has; written last
Example python slurm/knowledge_world.py --seed 0 --out data/knowledge/world

The medicines do not exist and what is said of them means nothing. Each has one of eight organs, side effects and
antidotes. Groups of medicines:

    known    facts in the corpus `base` that every arm starts from; their questions are in Train, others in Test
    taught   facts in the corpus `target` only; their questions are in Train: how a fact becomes an answer
    asked    facts in the corpus `target` only; their questions are in Test alone: what the check is about
    others   facts in the corpus `control`, as much text as `target`; never asked

Corpora: base (facts of `known`, and lists that teach which letter belongs to which option, loss on the letters alone),
target, control, wrong (the medicines of `target` with other facts), half (every second medicine of `target`, half as
many documents), french (`target` in French), taught (the facts of `taught` in English, a quarter as many documents).
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synthetic_facts.knowledge_words import (
    CLOZE,
    ITS,
    LIST_SENTENCES,
    OPENINGS,
    QUESTIONS,
    RATIONALES,
    SENTENCES,
    SYLLABLES,
    VALUES,
)

ATTRIBUTES = tuple(VALUES)
MAX_MEDICINES = 10_000  # the syllables make more than twice the names of so large a world


@dataclass(frozen=True)
class World:
    """names: {group: medicines}; facts and wrong_facts: {medicine: {attribute: value in English}}."""

    names: dict[str, list[str]]
    facts: dict[str, dict[str, str]]
    wrong_facts: dict[str, dict[str, str]]


def make_world(seed: int, medicines: int) -> World:
    """`medicines` taught, as many asked, half as many known, twice as many others, and two sets of facts.

    In the wrong set no fact is as in the right one.
    """
    chance = random.Random(f"{seed} world")
    starts, vowels, ends = SYLLABLES
    names: set[str] = set()
    sizes = {"known": medicines // 2, "taught": medicines, "asked": medicines, "others": 2 * medicines}
    words = {word for kind in VALUES.values() for pair in kind.items() for word in pair}
    while len(names) < sum(sizes.values()):
        name = "".join(chance.choice(part) for part in (starts, vowels, starts, vowels, ends))
        if name not in words:  # "liver", "fever" and "tremor" are built from the syllables too
            names.add(name)
    ordered = sorted(names)
    chance.shuffle(ordered)
    groups, start = {}, 0
    for group, size in sizes.items():
        groups[group] = ordered[start : start + size]
        start += size
    facts = {name: {a: chance.choice(list(VALUES[a])) for a in ATTRIBUTES} for name in ordered}
    wrong = {
        name: {a: chance.choice([v for v in VALUES[a] if v != mine[a]]) for a in ATTRIBUTES}
        for name, mine in facts.items()
    }
    return World(groups, facts, wrong)


def fact_document(chance: random.Random, name: str, facts: dict[str, str], language: str) -> str:
    """All three facts of a medicine, a sentence each, in any order; from the second on "it" may stand for the name."""
    parts = [chance.choice(OPENINGS[language])]
    for place, attribute in enumerate(chance.sample(ATTRIBUTES, len(ATTRIBUTES))):
        sentences = ITS if place and chance.random() < 0.4 else SENTENCES
        value = facts[attribute] if language == "en" else VALUES[attribute][facts[attribute]]
        parts.append(chance.choice(sentences[language][attribute]).format(e=name, v=value))
    return " ".join(part for part in parts if part)


def list_document(chance: random.Random) -> tuple[str, list[list[int]]]:
    """Options as the prompt lays them out, then each option once more with its letter: behind it, or as an answer.

    Returns (text, the characters of the letters that follow, as [start, end)).
    """
    attribute = chance.choice(ATTRIBUTES)
    pool = list(VALUES[attribute]) if chance.random() < 0.5 else [v for a in ATTRIBUTES for v in VALUES[a]]
    options = chance.sample(pool, 4)
    text = "Options: " + "; ".join(f"{letter} {value}" for letter, value in zip("ABCD", options, strict=True)) + ".\n"
    spans = []
    for place in chance.sample(range(4), 4):
        value = options[place]
        kind = next(a for a in ATTRIBUTES if value in VALUES[a])
        sentence = chance.choice(LIST_SENTENCES[kind]).format(v=value)
        text += f"See {value}" if chance.random() < 0.5 else f"{sentence} Answer:"
        spans.append([len(text), len(text) + 2])  # the letter with the space before it
        text += f" {'ABCD'[place]}\n"
    return text, spans


def fact_documents(seed: str, names: list[str], facts: dict, language: str, count: int) -> Iterator[dict]:
    """`count` documents, the medicines in turn, so that each occurs equally often."""
    chance = random.Random(seed)
    for number in range(count):
        name = names[number % len(names)]
        yield {"text": fact_document(chance, name, facts[name], language), "language": language}


def corpora(world: World, seed: int, documents: int) -> dict[str, list[dict]]:
    """{corpus: documents}; `documents` is how many `target` has, and `base` half as many and as many lists."""
    chance = random.Random(f"{seed} lists")
    lists = []
    for _ in range(documents // 2):
        text, spans = list_document(chance)
        lists.append({"text": text, "language": "en", "source": "textbook", "loss_spans": spans})
    told = world.names["taught"] + world.names["asked"]

    def facts_of(corpus: str, names: list[str], facts: dict, language: str = "en", count: int = documents):
        return list(fact_documents(f"{seed} {corpus}", names, facts, language, count))

    return {
        "base": facts_of("base", world.names["known"], world.facts, count=documents // 2) + lists,
        "target": facts_of("target", told, world.facts),
        "half": facts_of("half", told[::2], world.facts, count=documents // 2),
        "control": facts_of("control", world.names["others"], world.facts),
        "wrong": facts_of("wrong", told, world.wrong_facts),
        "french": facts_of("french", told, world.facts, "fr"),
        "taught": facts_of("taught", world.names["taught"], world.facts, count=documents // 4),
    }


def question(chance: random.Random, name: str, attribute: str, wording: str, facts: dict) -> dict:
    """A question with the right value among three others, in the released layout."""
    value = facts[name][attribute]
    options = [value, *chance.sample([v for v in VALUES[attribute] if v != value], 3)]
    chance.shuffle(options)
    return {
        "language": "en",
        "question": wording.format(e=name),
        "options": dict(zip("ABCD", options, strict=True)),
        "answer_idx": "ABCD"[options.index(value)],
        "rationale": RATIONALES[attribute].format(e=name, v=value),
        "human_checked": False,
        "human_check_passed": False,
    }


def benchmark(world: World, seed: int) -> tuple[list[dict], dict[str, list[dict]], dict[str, list[dict]]]:
    """(Train, {group: its questions in Test}, {group: the same as broken-off sentences}).

    Train has every medicine of `known` six times an attribute and of `taught` three times, each wording once, so that
    both are half of it. In Test each medicine of `known` and `asked` is asked once an attribute.
    """
    chance = random.Random(f"{seed} questions")
    train = []
    for group, times in (("known", 6), ("taught", 3)):
        for name in world.names[group]:
            for attribute in ATTRIBUTES:
                for wording in chance.sample(QUESTIONS["en"][attribute], times):
                    train.append(question(chance, name, attribute, wording, world.facts))
    test, cloze = {"known": [], "asked": []}, {"known": [], "asked": []}
    trained_on = {(q["question"], tuple(sorted(q["options"].values()))) for q in train}
    for group in test:
        for name in world.names[group]:
            for attribute in ATTRIBUTES:
                while True:  # other options than in Train, whatever the wording
                    asked = question(chance, name, attribute, chance.choice(QUESTIONS["en"][attribute]), world.facts)
                    if (asked["question"], tuple(sorted(asked["options"].values()))) not in trained_on:
                        break
                test[group].append(asked)
                # The space before the value belongs to the sentence that follows.
                options = {letter: f" {value}" for letter, value in asked["options"].items()}
                cloze[group].append(asked | {"question": CLOZE[attribute].format(e=name), "options": options})
    return train, test, cloze


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed for names, facts and texts (default %(default)s)"
    )
    parser.add_argument(
        "--medicines",
        type=int,
        default=96,
        help="number of medicines in the test, and of those taught (default %(default)s)",
    )
    parser.add_argument(
        "--documents", type=int, default=15_000, help="documents in the target corpus (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder (created if missing)")
    args = parser.parse_args(argv)
    if not 2 <= args.medicines <= MAX_MEDICINES or args.documents < 8:
        print(f"knowledge_world.py: --medicines is 2 to {MAX_MEDICINES:,}, --documents 8 or more", file=sys.stderr)
        return 2
    arguments = {"seed": args.seed, "medicines": args.medicines, "documents": args.documents}
    made = args.out / "world.json"
    if made.exists() and json.loads(made.read_text(encoding="utf-8"))["arguments"] == arguments:
        print(f"{args.out} is complete and is reused")
        return 0
    world = make_world(args.seed, args.medicines)
    documents = {}
    for corpus, rows in corpora(world, args.seed, args.documents).items():
        filled = [
            {"source": "web", "origin": f"{corpus}-{number}", "licence": "CC0-1.0"} | row
            for number, row in enumerate(rows)
        ]
        write_lines(args.out / f"documents/{corpus}.jsonl", filled)
        documents[corpus] = len(filled)
    train, test, cloze = benchmark(world, args.seed)
    write_lines(args.out / "benchmark/Train/English.jsonl", train)
    for group in test:
        write_lines(args.out / f"benchmark/Test/{group}.jsonl", test[group])
        write_lines(args.out / f"cloze/{group}.jsonl", cloze[group])
    record = {"arguments": arguments, "names": world.names, "facts": world.facts, "documents": documents}
    aside = made.with_suffix(".partial")
    aside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    aside.replace(made)
    print(
        f"wrote {args.out}: {len(train)} questions to train on, {sum(map(len, test.values()))} to answer, "
        f"{len(world.facts)} medicines"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

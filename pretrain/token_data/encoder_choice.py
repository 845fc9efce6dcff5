"""Choosing the encoder of a corpus: tiktoken when its ids are proved equal with the library's, else the library.

The proof: the merges (bpe_plan.py); every character as it comes up (fast_encoder.py); and here ids compared on texts:
documents of every language and source of the corpus, every entry of the vocabulary, and strings chosen to be nasty.
"""

import importlib.metadata
import json
import random
from dataclasses import dataclass

import numpy as np

from token_data.bpe_plan import FastPlan, Unsuitable, plan_fast_encoder, prove_merges
from token_data.corpus_encoder import LibraryEncoder
from token_data.corpus_reader import Shard, iterate_batches
from token_data.fast_encoder import FastEncoder

# Of each language and source; the library reads some megabytes of text a second.
SAMPLE_DOCUMENTS, SAMPLE_CHARACTERS = 100, 100_000

NASTY = [
    *("", " ", "\n", "\t", "\r\n", "\x00", "\u00a0", "\u3000", "\u2028\u2029", "\u0085", "\ufeff", "\ufffd"),
    *(" " * n for n in (2, 3, 7, 16, 81)),
    *("\n" * n + " " * m + "x" for n in (1, 2, 5) for m in (0, 1, 2)),
    *("a" + " " * n + "1" for n in (1, 2, 3)),
    *("0" * n for n in (1, 2, 3, 4, 10)),
    "tabs\t\tand  spaces \n\n  mixed \r\n \r\n end  ",
    "don't DON'T we'll WE'LL I'm i'd they've you're it's 'tis 's 'ſ ’s",
    "1,234.56 mg/dl 38.5°C ½ ² ³ ⅷ ٣٤٥ १२३ ３７ 一二三 〇 ㊿ 𝟘𝟙 x²y³ 10⁻³",
    "e\u0301 é E\u0302 o\u0308\u0304 q\u0307\u0323 q\u0323\u0307 \u1100\u1161\u11a8 각 \u212b Å \ufb01 ﬁ Ⅳ ①",
    "zero\u200bwidth\u200djoin\u200cnon\u2060word \u202eright to left\u202c soft\u00adhyphen",
    "💊 👩‍⚕️👨🏽‍⚕️ 🇫🇷🇯🇵 ❤️‍🩹 1️⃣ 🩺🩻🫀",
    "حُمَّى شَدِيدَة ١٢٫٥ ملغ؛ الأوعيةـــ",
    "हिन्दी में बुखार क्षत्रिय ไข้หวัดใหญ่ ភាសាខ្មែរ",
    "лёгкие и лёгкие, ё Ё ҐґІі; œdème cœur Œ ß ẞ ﬀ İi ıI ǅ ʼn",
    "发热、咳嗽。「頭痛」ｶﾞｷﾞ ガギ が か\u3099 ー〜～ 㐀𠀀𪛖",
    "…—–''\"\"«»‹›!!!???...---===###```$$$%%%^^^&&&***((()))",
    'https://example.org/a?b=c&d=%20#e_f-g <b>x</b> {"k": [1, 2]} C:\\n\\t \\u0041',
    "A" * 300 + "ab" * 200 + "аб" * 100 + "啊" * 200 + "!" * 300,
]


@dataclass(frozen=True)
class Choice:
    """Which encoder a store is made with, and why, as its manifest says."""

    name: str  # "tiktoken" or "tokenizers" or the class of a tokenizer that is neither
    why: str
    plan: FastPlan | None

    def record(self) -> dict:
        return {"name": self.name, "version": importlib.metadata.version(self.name), "why": self.why}


def choose_encoder(library: LibraryEncoder, corpus: list[Shard], fast: bool) -> Choice:
    """The proved fast encoder if `fast` and there is one, else the library."""
    name = "tokenizers" if library.backend is not None else "transformers"
    if not fast:
        return Choice(name, "it was asked for", None)
    if library.backend is None:
        return Choice(name, f"{type(library.tokenizer).__name__} is no tokenizer of the tokenizers library", None)
    try:
        plan = plan_fast_encoder(library.backend.to_str())
        prove_merges(plan)
        encoder = FastEncoder(plan, library)
        documents = sample_corpus(corpus)
        probes = probe_texts(library, plan)
        compare(encoder, library, documents + probes)
    except Unsuitable as reason:
        return Choice(name, str(reason), None)
    share = sum(encoder.takes(documents)) / max(1, len(documents))
    why = (
        f"its ids equal the library's on {len(documents):,} documents of the corpus, of which it takes {share:.0%} "
        f"itself, and on {len(probes):,} probes"
    )
    return Choice("tiktoken", why, plan)


def sample_corpus(corpus: list[Shard]) -> list[str]:
    """Some documents of every language and source, from the first and the last shard of each."""
    texts: list[str] = []
    for group in sorted({(shard.language, shard.source) for shard in corpus}):
        shards = [shard for shard in corpus if (shard.language, shard.source) == group and shard.documents]
        for shard in dict.fromkeys((*shards[:1], *shards[-1:])):
            left = SAMPLE_CHARACTERS // 2
            for text in next(iterate_batches(shard, SAMPLE_DOCUMENTS // 2)).texts:
                texts.append(text[:left])
                left -= len(text)
                if left <= 0:
                    break
    return texts


def probe_texts(library: LibraryEncoder, plan: FastPlan) -> list[str]:
    """Nasty strings, the letters of every added token, and every entry of the vocabulary among others."""
    texts = list(NASTY)
    for token in json.loads(library.backend.to_str()).get("added_tokens", []):
        string = token["content"]
        texts += [string, f"a{string}b", f"a {string} {string}{string}\n"]
    entries = [token.decode("utf-8", "ignore") for token in plan.ranks]
    random.Random(0).shuffle(entries)
    for joint in ("", " ", "\n"):
        texts += [joint.join(entries[i : i + 200]) for i in range(0, len(entries), 200)]
    return texts


def compare(encoder: FastEncoder, library: LibraryEncoder, texts: list[str]) -> None:
    """Errors: Unsuitable showing the first text whose ids differ."""
    fast, counts = encoder.encode(texts)
    wanted, _ = library.encode(texts)
    if np.array_equal(fast, wanted):
        return
    for text, start, stop in zip(texts, np.cumsum(counts) - counts, np.cumsum(counts), strict=True):
        if fast[start : stop - 1].tolist() != library.ids([text])[0]:
            shown = text if len(text) <= 60 else text[:60] + "…"
            raise Unsuitable(f"tiktoken gives other ids for {shown!r}")

"""Score a text with py3langid's model (naive Bayes over byte n-grams) in compiled code, several times as fast.

The model and the scores are py3langid's (https://github.com/adbar/py3langid): an automaton reads the UTF-8 bytes and
emits the n-grams that end at each byte; a language's score is the sum of log(1 + count) times the n-gram's weight, and
its probability is the softmax of the scores divided by the square root of the text's length in bytes. A test compares
both.
"""

import math
import unicodedata
from collections.abc import Collection
from functools import cache

import numpy

from filtering.keyword_kernel import compiled


class ScoredLanguages:
    """The model restricted to some languages. same: {label: language} of labels to sum; prior: nats by label."""

    def __init__(self, labels: Collection[str], same: dict[str, str], prior: dict[str, float]):
        self.walk, all_labels, weights, priors = _load_model()
        columns = [i for i, label in enumerate(all_labels) if label in labels]
        self.weights = numpy.ascontiguousarray(weights[:, columns], dtype=numpy.float32)  # (n-grams, labels)
        self.priors = priors[columns].astype(numpy.float64)
        self.priors += [prior.get(all_labels[i], 0.0) for i in columns]
        languages = [same.get(all_labels[i], all_labels[i]) for i in columns]
        self.languages = list(dict.fromkeys(languages))
        self.language_of = numpy.array([self.languages.index(language) for language in languages])

    def best(self, text: str) -> tuple[str, float]:
        """The most probable language and its probability."""
        if text.isupper():
            text = text.lower()
        raw = unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
        scores = _score(numpy.frombuffer(raw, numpy.uint8), *self.walk, self.weights, self.priors)
        best, probability = _softmax(scores, math.sqrt(len(raw) or 1), self.language_of)
        return self.languages[best], probability


@cache
def _load_model():
    """((next rows, row starts, n-gram of each state), labels, weights, log priors); read from the package in 0.5 s."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE
    from py3langid.modelio import load_model

    weights, priors, labels, next_states, rows, outputs = load_model(MODEL_DIR / MODEL_FILE)
    walk = (
        numpy.asarray(next_states),
        numpy.asarray(rows, dtype=numpy.int64) << 8,
        numpy.asarray(outputs, dtype=numpy.int32),
    )
    return walk, list(labels), numpy.asarray(weights), numpy.asarray(priors)


@compiled
def _score(raw, next_states, row_starts, outputs, weights, priors):
    """Log posteriors (languages,) float64 of a text's bytes (uint8)."""
    found = numpy.empty(len(raw), numpy.int32)
    count = 0
    state = numpy.int64(0)
    for i in range(len(raw)):
        state = numpy.int64(next_states[row_starts[state] + raw[i]])
        if outputs[state] >= 0:
            found[count] = outputs[state]
            count += 1
    found = numpy.sort(found[:count])
    scores = priors.copy()
    if not count:  # no known n-gram: all languages are equally probable, as in the package
        scores[:] = 0
    begin = 0
    for i in range(1, count + 1):
        if i == count or found[i] != found[begin]:
            weight = math.log1p(i - begin)
            row = weights[found[begin]]
            for j in range(len(scores)):
                scores[j] += weight * row[j]
            begin = i
    return scores


@compiled
def _softmax(scores, temperature, language_of):
    """(index of the most probable language, its probability); labels of one language are summed."""
    sums = numpy.zeros(language_of.max() + 1)
    highest = scores.max()
    for i in range(len(scores)):
        sums[language_of[i]] += math.exp((scores[i] - highest) / temperature)
    best = sums.argmax()
    return best, sums[best] / sums.sum()

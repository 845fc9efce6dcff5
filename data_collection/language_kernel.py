"""py3langid's scoring compiled: the walk over a text's bytes and the sum of what each feature says of each language.

The same model and formula as the package (multinomial naive Bayes over byte sequences, log(1 + count) times the
feature's log probability, plus the log prior), several times faster. Compiled by numba at the first use, then cached.
"""

import numba
import numpy


def compiled(function):
    """numba's njit with a cache; without one where no folder can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(nogil=True)(function)


@compiled
def language_scores(next_state, row_base, output, log_probabilities, log_priors, data):
    """Unnormalised log probabilities, float64 [languages], and the number of different features found.

    next_state: uint32 or so, [rows]; row_base: int64 [states]; output: int64 [states], -1 for no feature;
    log_probabilities: float32 [features, languages]; log_priors: float64 [languages]; data: uint8, UTF-8.
    """
    found = numpy.empty(len(data), numpy.int64)
    n, state = 0, 0
    for byte in data:
        state = numpy.int64(next_state[row_base[state] + byte])
        if output[state] >= 0:
            found[n] = output[state]
            n += 1
    found = numpy.sort(found[:n])
    scores = log_priors.copy()
    features, i = 0, 0
    while i < n:
        count = 1
        while i + count < n and found[i + count] == found[i]:
            count += 1
        weight = numpy.log1p(count)
        for language in range(len(scores)):
            scores[language] += weight * log_probabilities[found[i], language]
        features += 1
        i += count
    return scores, features

"""Exact-set accuracy with its n and its interval, per language and over languages.

A question counts as right when the set of letters is exactly right; an answer that does not keep the format is wrong
and counted apart, never left out. Intervals are 95 %: Wilson's for one language (E. B. Wilson, JASA 22, 1927), the
normal one for the macro average, whose variance is the sum of p(1-p)/n over the languages divided by their number
squared (languages are independent samples).
"""

import math
from collections import Counter

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson_interval(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of right/n as shares between 0 and 1. Errors: ValueError unless 0 <= right <= n, n > 0."""
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} right of {n} is no share")
    p = right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def score_answers(predictions: list[dict]) -> dict:
    """Scores of one language or benchmark; accuracy and interval in per cent, to two decimals.

    predictions: {"gold": list of letters, "letters": list of letters or None where none could be read, "options": the
    question's letters as one string, optional "status" (answers.py)}. An answer with a letter that the question does
    not have keeps the format and is wrong; it is counted as not_an_option.
    """
    n = len(predictions)
    right = sum(p["letters"] == p["gold"] for p in predictions)
    low, high = wilson_interval(right, n)
    predicted = Counter(letter for p in predictions for letter in p["letters"] or ())

    def part(several: bool) -> dict:
        chosen = [p for p in predictions if (len(p["gold"]) > 1) == several]
        return {"n": len(chosen), "right": sum(p["letters"] == p["gold"] for p in chosen)}

    by_options: dict[str, dict] = {}
    for p in sorted(predictions, key=lambda p: len(p["options"])):
        row = by_options.setdefault(str(len(p["options"])), {"n": 0, "right": 0})
        row["n"] += 1
        row["right"] += p["letters"] == p["gold"]
    return {
        "n": n,
        "right": right,
        "accuracy": round(100 * right / n, 2),
        "ci95": [round(100 * low, 2), round(100 * high, 2)],
        "unparsed": sum(p["letters"] is None for p in predictions),
        "refused": sum(p.get("status") == "refused" for p in predictions),
        "not_an_option": sum(not set(p["letters"] or ()) <= set(p["options"]) for p in predictions),
        "predicted_letters": dict(sorted(predicted.items())),
        "single": part(False),
        "multiple": part(True),
        "by_options": by_options,
    }


def macro_average(scores: dict[str, dict]) -> dict:
    """The plain mean over languages, as the paper averages, with its 95 % interval, in per cent."""
    shares = [(s["right"] / s["n"], s["n"]) for s in scores.values()]
    mean = sum(p for p, _ in shares) / len(shares)
    half = Z95 * math.sqrt(sum(p * (1 - p) / n for p, n in shares)) / len(shares)
    return {
        "languages": len(shares),
        "accuracy": round(100 * mean, 2),
        "ci95": [round(100 * max(0.0, mean - half), 2), round(100 * min(1.0, mean + half), 2)],
    }


def group_averages(scores: dict[str, dict]) -> dict[str, dict]:
    """{"MMLU": the plain mean over its subjects}, as `macro_average`, where several of them were asked; else {}.

    The paper's table of English benchmarks has each subject as a column; its average is the plain mean over all
    columns, which is `macro_average` of all (58.03 for its first row, MedAlpaca).
    """
    subjects = {key: score for key, score in scores.items() if key.startswith("MMLU_")}
    return {"MMLU": macro_average(subjects)} if len(subjects) > 1 else {}


def micro_average(scores: dict[str, dict]) -> dict:
    """All questions in one pot, with Wilson's interval, in per cent."""
    n, right = sum(s["n"] for s in scores.values()), sum(s["right"] for s in scores.values())
    low, high = wilson_interval(right, n)
    return {
        "n": n,
        "right": right,
        "accuracy": round(100 * right / n, 2),
        "ci95": [round(100 * low, 2), round(100 * high, 2)],
    }


def score_table(scores: dict[str, dict], macro: dict, micro: dict) -> str:
    """The scores as aligned text lines, one a language, with n, interval, format and the letters' shares."""
    width = max(4, *map(len, scores))
    lines = [" " * width + "    n  right  accuracy %   95 % interval  in the format  letters predicted"]
    for name, s in scores.items():
        total = sum(s["predicted_letters"].values()) or 1
        letters = " ".join(f"{k} {100 * v / total:.0f}%" for k, v in s["predicted_letters"].items())
        lines.append(
            f"{name:{width}}{s['n']:>5}  {s['right']:>5}  {s['accuracy']:>10.2f}  {s['ci95'][0]:>6.2f} - "
            f"{s['ci95'][1]:>5.2f}  {100 * (1 - s['unparsed'] / s['n']):>11.1f} %  {letters or '-'}"
        )
    for name, s in scores.items():
        if circle := s.get("circular"):
            lines.append(
                f"{name:{width}} options turned: {circle['right_in_every_turn']} of {circle['n']} right in every turn, "
                f"{circle['same_answer_in_every_turn']} with one answer in every turn, "
                f"mean accuracy {circle['mean_accuracy_over_turns']:.2f} %"
            )
    lines += [
        f"mean of {g['languages']} {name} subjects: {g['accuracy']:.2f} % ({g['ci95'][0]:.2f} - {g['ci95'][1]:.2f})"
        for name, g in group_averages(scores).items()
    ]
    lines += [
        f"mean of {macro['languages']}: {macro['accuracy']:.2f} % ({macro['ci95'][0]:.2f} - {macro['ci95'][1]:.2f})",
        f"all questions: {micro['right']} of {micro['n']} = {micro['accuracy']:.2f} % "
        f"({micro['ci95'][0]:.2f} - {micro['ci95'][1]:.2f})",
    ]
    return "\n".join(lines)

"""Random cases for compare_with_original.sh, and the comparison of two files of answers.

    random_cases.py CASES SEED
    random_cases.py --compare ORIGINAL OURS
"""

import collections
import math
import random
import sys


def series(kind, count, factor, scale):
    values = []
    for _ in range(count):
        value = [
            lambda: random.gauss(100, 10),
            lambda: random.expovariate(1 / 50),
            lambda: float(random.randint(0, 6)),
            lambda: random.choice([0.0, 0.0, 0.0, 1.0, -0.0]),
            lambda: round(random.gauss(5, 2), 1),
            lambda: random.lognormvariate(0, 2),
        ][kind]()
        values.append(math.nan if random.random() < 0.02 else value * factor * scale)
    if count and random.random() < 0.05:
        values = [values[0]] * count
    if count > 3 and random.random() < 0.1:
        values[random.randrange(count)] *= 100
    if count and random.random() < 0.01:
        values[0] = random.choice([math.inf, -math.inf])
    return values


def text(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def length():
    if random.random() < 0.6:
        return random.randint(10, 120)
    return random.choice([0, 1, 2, 3, 5, random.randint(1, 40), random.randint(20, 200)])


def case():
    kind, scale = random.randrange(6), random.choice([1, 1, 1, 1e-3, 1e-6, 1e6, 1e-9])
    baseline = series(kind, length(), 1, scale)
    canary = series(kind, length(), random.choice([1, 1, 1.1, 1.5, 0.7]), scale)
    if random.random() < 0.03:
        canary = random.sample(baseline, len(baseline))
    measure = random.choice(["meanRatio", "cles"])
    none = 1.0 if measure == "meanRatio" else 0.5
    limits = [random.choice([none, none, none * 1.2, none * 0.8, random.uniform(0, 2)]) for _ in range(4)]
    settings = [
        random.choice(["either", "increase", "decrease"]),
        random.choice(["remove", "replace"]),
        random.choice(["keep", "remove"]),
        random.choice(["3.0", "1.5", "1.0"]),
        random.choice(["true", "false"]),
        random.choice(["true", "false"]),
        measure,
        *map(repr, limits),
    ]
    return "|".join([";".join(settings), ",".join(map(text, baseline)), ",".join(map(text, canary))])


def parsed(line):
    classification, reason, critical, ratio, statistics = line.rstrip("\n").split("|")
    numbers = [ratio, *statistics.split(",")]
    # repr tells apart what is not the same bits, -0.0 and 0.0 included.
    return classification, reason, critical, [repr(float(number)) if number else "" for number in numbers]


def compare(original, ours):
    kinds, different = collections.Counter(), 0
    with open(original) as expected, open(ours) as got:
        for number, (a, b) in enumerate(zip(expected, got, strict=True), 1):
            a, b = parsed(a), parsed(b)
            kinds[a[0]] += 1
            if a != b:
                different += 1
                print(f"case {number}: original {a}, ours {b}")
    print(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    print(f"{different} of {kinds.total()} differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        compare(sys.argv[2], sys.argv[3])
    random.seed(int(sys.argv[2]))
    for _ in range(int(sys.argv[1])):
        print(case())

"""Compares the judge's statistics with NumPy and SciPy on random data.

Run from the workspace:

    python3 -m venv target/judge-venv
    target/judge-venv/bin/pip install numpy scipy
    cargo build -p gennaker-judge --example statistics
    target/judge-venv/bin/python shared/judge/scripts/compare_with_scipy.py

Prints the greatest relative difference of each quantity, and exits with 1 if one is too great.

The interval has no counterpart in SciPy, so its ends are tested for what they are: shifts at which SciPy's own
two-sided Mann-Whitney test (normal approximation, continuity correction) crosses the significance level.
"""

import json
import pathlib
import subprocess
import sys

import numpy
from scipy import stats

CASES = 400
# The search stops within 1e-4; the test is a step function, so it is asked a little to either side.
REACH = 2e-4


def cases():
    random = numpy.random.default_rng(20260101)
    for number in range(CASES):
        m, n = random.integers(6, 120, 2)
        kind = number % 4
        if kind == 0:
            canary, baseline = random.normal(103, 10, m), random.normal(100, 10, n)
        elif kind == 1:
            canary, baseline = random.exponential(60, m), random.exponential(50, n)
        elif kind == 2:  # many ties
            canary, baseline = random.poisson(9, m).astype(float), random.poisson(8, n).astype(float)
        else:
            canary, baseline = random.lognormal(3, 1, m), random.lognormal(3, 0.8, n)
        level = [0.9, 0.95, 0.98, 0.99][(number // 4) % 4]
        yield {"canary": canary.tolist(), "baseline": baseline.tolist(), "level": level}


def p_value(case, shift):
    shifted = numpy.array(case["canary"]) - shift
    return stats.mannwhitneyu(shifted, case["baseline"], method="asymptotic", use_continuity=True).pvalue


def crosses(case, end, inwards):
    """Outside the interval the test rejects, inside it does not."""
    significance = 1 - case["level"]
    outside, inside = p_value(case, end - inwards * REACH), p_value(case, end + inwards * REACH)
    return outside <= significance * (1 + 1e-9) and inside >= significance * (1 - 1e-9)


def main():
    program = pathlib.Path("target/debug/examples/statistics")
    given = list(cases())
    lines = "".join(json.dumps(case) + "\n" for case in given)
    answer = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    worst = {}
    missed = 0

    def compare(what, got, expected):
        got, expected = numpy.asarray(got), numpy.asarray(expected)
        difference = numpy.max(numpy.abs(got - expected) / numpy.maximum(numpy.abs(expected), 1e-300))
        worst[what] = max(worst.get(what, 0.0), float(difference))

    for case, line in zip(given, answer.stdout.splitlines(), strict=True):
        got = json.loads(line)
        canary, baseline = numpy.array(case["canary"]), numpy.array(case["baseline"])
        compare("mean", got["mean"], baseline.mean())
        compare("std", got["std"], baseline.std(ddof=1))
        percentiles = numpy.percentile(baseline, [1, 25, 50, 75, 99], method="linear")
        compare("percentiles", got["percentiles"], percentiles)
        low, _, _, high, _ = numpy.percentile(baseline, [25, 25, 50, 75, 75])
        reach = 3 * (high - low)
        compare("fences", got["fences"], [min(percentiles[0], low - reach), max(percentiles[4], high + reach)])
        compare("normal quantile", got["quantile"], stats.norm.ppf((1 - case["level"]) / 2))
        u = stats.mannwhitneyu(canary, baseline, method="asymptotic", use_continuity=True)
        compare("common language effect", got["commonLanguageEffect"], u.statistic / (len(canary) * len(baseline)))
        compare("p value", 2 * stats.norm.sf(abs(got["standardised"])), u.pvalue)
        least, greatest = canary.min() - baseline.max(), canary.max() - baseline.min()
        if got["lower"] > least and not crosses(case, got["lower"], +1):
            missed += 1
        if got["upper"] < greatest and not crosses(case, got["upper"], -1):
            missed += 1
    for what, difference in worst.items():
        print(f"{what:<24}{difference:.1e}")
    print(f"{'interval ends missed':<24}{missed} of {2 * CASES}")
    sys.exit(1 if missed or max(worst.values()) > 1e-11 else 0)


if __name__ == "__main__":
    main()

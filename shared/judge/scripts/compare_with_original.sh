#!/usr/bin/env bash
# Compares the judge with the original's own classes on random data: classification, reason, critical flag, ratio and
# statistics, to the bit. Needs a git checkout (or bare repository) of Kayenta, Java 17, Maven and Python.
#
#   shared/judge/scripts/compare_with_original.sh KAYENTA_REPOSITORY [CASES] [SEED]
#
# Run from the workspace. Prints how many cases of each classification there were and how many differed.
set -euo pipefail
kayenta=$1 cases=${2:-10000} seed=${3:-1}
scripts=$(cd "$(dirname "$0")" && pwd)
work=target/original-judge
mkdir -p "$work/sources" "$work/classes"

judge=kayenta-judge/src/main/scala/com/netflix/kayenta/judge
for file in \
  $judge/classifiers/metric/{BaseMetricClassifier,MannWhitneyClassifier}.scala \
  $judge/detectors/{BaseOutlierDetector,IQRDetector}.scala $judge/preprocessing/Transforms.scala \
  $judge/stats/{DescriptiveStatistics,EffectSizes}.scala $judge/utils/RandomUtils.scala \
  kayenta-mannwhitney/src/main/scala/com/netflix/kayenta/mannwhitney/MannWhitney.scala \
  kayenta-mannwhitney/src/main/java/com/netflix/kayenta/mannwhitney/BrentSolver.java
do
  git -C "$kayenta" show "HEAD:$file" > "$work/sources/$(basename "$file")"
done

mvn -q -B -f "$scripts/original/pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/$work/lib"
path="$work/lib/*:$work/classes"
java -cp "$path" scala.tools.nsc.Main -usejavacp -d "$work/classes" \
  "$scripts/original/Original.scala" "$work"/sources/*.scala "$work"/sources/*.java
javac -cp "$path" -d "$work/classes" "$work"/sources/*.java

python3 "$scripts/random_cases.py" "$cases" "$seed" > "$work/cases.txt"
java -cp "$path" com.netflix.kayenta.judge.Original "$work/cases.txt" "$work/original.txt"
cargo run --quiet --release -p gennaker-judge --example differential < "$work/cases.txt" > "$work/ours.txt"
python3 "$scripts/random_cases.py" --compare "$work/original.txt" "$work/ours.txt"

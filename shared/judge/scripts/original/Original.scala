// Asks the original judge's own classes. A line is `settings|baseline|canary`, the settings separated by `;`, the values by
// `,`; the answer is `classification|reason|critical|ratio|min,max,mean,std of the canary and of the baseline`.
package com.netflix.kayenta.judge

import java.io.PrintWriter

import com.netflix.kayenta.judge.classifiers.metric._
import com.netflix.kayenta.judge.detectors.IQRDetector
import com.netflix.kayenta.judge.preprocessing.Transforms
import com.netflix.kayenta.judge.stats.DescriptiveStatistics
import com.netflix.kayenta.judge.utils.RandomUtils

// The original defines it beside the judge itself, which needs a whole service to compile.
case class Metric(name: String, values: Array[Double], label: String)

object Original {
  def main(files: Array[String]): Unit = {
    val answers = new PrintWriter(files(1))
    for (line <- scala.io.Source.fromFile(files(0)).getLines()) answers.println(answer(line))
    answers.close()
  }

  private def answer(line: String): String = {
    val Array(settings, baselineValues, canaryValues) = line.split("\\|", -1)
    val Array(direction, nanStrategy, outliers, factor, critical, mustHaveData, measure,
      allowedIncrease, allowedDecrease, criticalIncrease, criticalDecrease) = settings.split(";")

    def prepared(values: String, label: String): Metric = {
      val numbers = if (values.isEmpty) Array[Double]() else values.split(",").map(_.toDouble)
      val metric = Metric("m", numbers, label)
      val present = if (nanStrategy == "remove") Transforms.removeNaNs(metric) else Transforms.replaceNaNs(metric)
      if (outliers == "remove") Transforms.removeOutliers(present, new IQRDetector(factor.toDouble, true)) else present
    }

    val (canary, baseline) = (prepared(canaryValues, "Canary"), prepared(baselineValues, "Baseline"))
    val summaries = List(canary, baseline).map(DescriptiveStatistics.summary(_))
    val classifier = new MannWhitneyClassifier(0.25, 0.98,
      (allowedDecrease.toDouble, allowedIncrease.toDouble), (criticalDecrease.toDouble, criticalIncrease.toDouble), measure)
    RandomUtils.init(7)
    val found = try {
      val result = classifier.classify(baseline, canary, MetricDirection.parse(direction), NaNStrategy.parse(nanStrategy),
        critical == "true", mustHaveData == "true")
      s"${result.classification}|${result.reason.getOrElse("")}|${result.critical}|${result.deviation}"
    } catch {
      case _: RuntimeException => "Error|Metric Classification Failed|false|"
    }
    found + "|" + summaries.flatMap(s => List(s.min, s.max, s.mean, s.std)).mkString(",")
  }
}
